# The default appraisal policy, for AMD SEV-SNP and TPM 2.0.
#
# Values are AR4SI's (draft-ietf-rats-ar4si): 2..31 affirm, 32..95 warn, 96 and above contraindicate.
# What is not proven is not affirmed: every default below is the denying one.
#
# Reference names (values are lower-case hex):
#   snp_launch_measurement        launch digest
#   tpm_pcr00, tpm_pcr04          firmware; boot loader or unified kernel image
#   tpm_pcr08, tpm_pcr09          kernel command line; kernel and initrd as the boot loader measures them
#   tpm_pcr07                     secure-boot policy
#
# A release matches as a whole: the registers of a boot must all belong to one group, so that the kernel of
# one release does not pass with the command line of another.
#
# A register that nothing extends has a reference value too: the zeros it starts with. Minimum firmware
# versions, permitted platform bits and trusted keys are settings of the verifier: what fails there is in
# input.verification.failed, and sets engine floors that no policy can improve.
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

# 2: genuine and supported.
hardware := 2 if {
	input.verification.tee == "snp"
	is_string(input.snp.measurement)
	input.verification.failed == []
}

hardware := 2 if {
	input.verification.tee == "tpm"
	input.tpm.safe == true
	input.verification.failed == []
}

# 96: software that nobody vouches for is not merely unknown here: it is refused.
default executables := 96

# 3: only approved executables were loaded during boot.
executables := 3 if {
	input.verification.tee == "snp"
	measurement := input.snp.measurement
	input.reference.snp_launch_measurement[measurement].value == measurement
}

executables := 3 if {
	input.verification.tee == "tpm"
	firmware := input.tpm.pcr00
	input.reference.tpm_pcr00[firmware].value == firmware
	loader := input.tpm.pcr04
	input.reference.tpm_pcr04[loader].value == loader
	command_line := input.tpm.pcr08
	input.reference.tpm_pcr08[command_line].value == command_line
	kernel := input.tpm.pcr09
	input.reference.tpm_pcr09[kernel].value == kernel
	count(boot_groups) > 0
}

# The releases that all four registers belong to.
boot_groups := intersection({
	reference_groups("tpm_pcr00", input.tpm.pcr00),
	reference_groups("tpm_pcr04", input.tpm.pcr04),
	reference_groups("tpm_pcr08", input.tpm.pcr08),
	reference_groups("tpm_pcr09", input.tpm.pcr09),
})

# 36: what matters for security in the configuration is not available.
default configuration := 36

# 3: no known vulnerabilities: nobody can look in from outside, nor move the guest elsewhere.
configuration := 3 if {
	input.verification.tee == "snp"
	input.snp.policy_debug_allowed == false
	input.snp.policy_migrate_ma == false
	input.snp.vmpl == 0
	input.verification.init_data != "unsupported"
	input.verification.failed == []
}

# 2: the approved configuration: the platform's secure-boot policy is that of the release that booted.
configuration := 2 if {
	input.verification.tee == "tpm"
	secure_boot := input.tpm.pcr07
	input.reference.tpm_pcr07[secure_boot].value == secure_boot
	secure_boot_groups := reference_groups("tpm_pcr07", secure_boot)
	count(intersection({boot_groups, secure_boot_groups})) > 0
	input.verification.failed == []
}

# 2: memory is encrypted by the platform; a TPM says nothing about memory.
default runtime_opaque := 0

runtime_opaque := 2 if {
	input.verification.tee == "snp"
	input.snp.policy_debug_allowed == false
}
