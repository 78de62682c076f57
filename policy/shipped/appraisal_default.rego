# Appraisal of SEV-SNP and TPM 2.0 evidence.
#
# Reference names: snp_launch_measurement; tpm_pcr04, tpm_pcr07, tpm_pcr11.
# What cannot be seen here is decided before: signatures, chains, revocation, nonce and key binding, TCB
# floors and the debug bit are the verifier's, and its floors stand whatever this policy says.
package policy

import rego.v1

# 33: unrecognised; 3: the measured boot is one of those that were attested.
default executables := 33

executables := 3 if input.reference.snp_launch_measurement[input.snp.measurement]

executables := 3 if {
	input.reference.tpm_pcr04[input.tpm.pcr04]
	input.reference.tpm_pcr11[input.tpm.pcr11]
}

# 97: not recognised; 2: genuine hardware, and the verifier's expectations of its firmware hold.
default hardware := 97

hardware := 2 if {
	input.snp.measurement
	count(input.verification.failed) == 0
}

hardware := 2 if {
	input.tpm.ak_name
	count(input.verification.failed) == 0
}

# 36: elements unavailable; 2: the launch and platform configuration is an approved one.
default configuration := 36

configuration := 2 if {
	input.snp.policy_debug_allowed == false
	input.snp.policy_migrate_ma == false
	input.snp.vmpl == 0
	input.verification.init_data != "unsupported"
}

configuration := 2 if input.reference.tpm_pcr07[input.tpm.pcr07]

# 97: not recognised; 2: bound to a challenge, on hardware whose identity is proven.
default instance_identity := 97

instance_identity := 2 if {
	input.verification.bound in {"session", "report-data"}
	is_string(input.verification.identity)
}

# 2: memory is encrypted with keys that the host does not have. A TPM says nothing of memory.
default runtime_opaque := 0

runtime_opaque := 2 if {
	input.snp.measurement
	input.snp.policy_debug_allowed == false
}

trust_claims := {
	"executables": executables,
	"hardware": hardware,
	"configuration": configuration,
	"instance-identity": instance_identity,
	"runtime-opaque": runtime_opaque,
}
