# The default appraisal policy: what holds for every TEE. What of a TEE's evidence affirms follows, one part
# per TEE.
#
# Values are AR4SI's (draft-ietf-rats-ar4si): 2..31 affirm, 32..95 warn, 96 and above contraindicate.
# What is not proven is not affirmed: every default below is the denying one.
#
# Reference values are lower-case hex where nothing else is said; each part lists the names that it asks for.
# A release matches as a whole: values that belong together must all belong to one group, so that the kernel
# of one release does not pass with the command line of another.
#
# Minimum firmware versions, permitted platform bits and trusted keys are settings of the verifier: what fails
# there is in input.verification.failed, and sets engine floors that no policy can improve.
package policy

import rego.v1

trust_claims := {
	"instance-identity": instance_identity,
	"configuration": configuration,
	"executables": executables,
	"hardware": hardware,
	"runtime-opaque": runtime_opaque,
}

# 97: not recognised: the evidence is bound to nobody.
default instance_identity := 97

# 2: a known instance. The evidence is fresh, bound to its requester, and its vendor vouches for the chip.
instance_identity := 2 if {
	input.verification.bound in {"session", "report-data"}
	is_string(input.verification.identity)
	input.verification.failed == []
}

# 0: no claim. The verifier's settings accept platforms that hide which chip they are.
instance_identity := 0 if {
	input.verification.bound in {"session", "report-data"}
	input.verification.identity == null
	input.verification.failed == []
}

# 97: not recognised.
default hardware := 97

# 96: software that nobody vouches for is not merely unknown here: it is refused.
default executables := 96

# 36: what matters for security in the configuration is not available.
default configuration := 36

# 0: no claim.
default runtime_opaque := 0
