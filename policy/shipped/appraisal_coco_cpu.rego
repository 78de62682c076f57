# Appraisal in the style of Confidential Containers: reference values by query_reference_value, all of
# the platform's TCB and the guest's policy by reference. For AMD SEV-SNP and TPM 2.0.
#
# Reference names that are sets of values (`in`):
#   snp_launch_measurement, snp_bootloader, snp_microcode, snp_snp_svn, snp_tee_svn, tpm_pcr11, trusted_aks
# Reference names that are single values (`==`):
#   snp_smt_enabled, snp_tsme_enabled, snp_guest_abi_major, snp_guest_abi_minor, snp_single_socket,
#   snp_smt_allowed
#
# A release matches as a whole: hardware is affirmed where the firmware versions belong to a group that the
# launch measurement belongs to, too, and the approved configuration where all of them share one group. (A
# trusted attestation key says which machine it is, not which release: it needs no group.)
package policy

import rego.v1

default executables := 33

default hardware := 97

default configuration := 36

default instance_identity := 0

trust_claims := {
	"executables": executables,
	"hardware": hardware,
	"configuration": configuration,
	"instance-identity": instance_identity,
	"file-system": 0,
	"runtime-opaque": 0,
	"storage-opaque": 0,
	"sourced-data": 0,
}

##### AMD SEV-SNP

executables := 3 if {
	input.snp
	input.snp.measurement in query_reference_value("snp_launch_measurement")
}

hardware := 2 if {
	input.snp
	input.snp.reported_tcb_bootloader in query_reference_value("snp_bootloader")
	input.snp.reported_tcb_microcode in query_reference_value("snp_microcode")
	input.snp.reported_tcb_snp in query_reference_value("snp_snp_svn")
	input.snp.reported_tcb_tee in query_reference_value("snp_tee_svn")
	count(snp_platform_groups) > 0
}

# The releases that the measurement and the firmware versions belong to.
snp_platform_groups := intersection({
	reference_groups("snp_launch_measurement", input.snp.measurement),
	reference_groups("snp_bootloader", input.snp.reported_tcb_bootloader),
	reference_groups("snp_microcode", input.snp.reported_tcb_microcode),
	reference_groups("snp_snp_svn", input.snp.reported_tcb_snp),
	reference_groups("snp_tee_svn", input.snp.reported_tcb_tee),
})

# Those that the guest's policy and the platform's features belong to as well.
snp_groups := intersection({
	snp_platform_groups,
	reference_groups("snp_smt_enabled", input.snp.platform_smt_enabled),
	reference_groups("snp_tsme_enabled", input.snp.platform_tsme_enabled),
	reference_groups("snp_guest_abi_major", input.snp.policy_abi_major),
	reference_groups("snp_guest_abi_minor", input.snp.policy_abi_minor),
	reference_groups("snp_single_socket", input.snp.policy_single_socket),
	reference_groups("snp_smt_allowed", input.snp.policy_smt_allowed),
})

configuration := 2 if {
	input.snp
	snp_closed
	input.snp.platform_smt_enabled == query_reference_value("snp_smt_enabled")
	input.snp.platform_tsme_enabled == query_reference_value("snp_tsme_enabled")
	input.snp.policy_abi_major == query_reference_value("snp_guest_abi_major")
	input.snp.policy_abi_minor == query_reference_value("snp_guest_abi_minor")
	input.snp.policy_single_socket == query_reference_value("snp_single_socket")
	input.snp.policy_smt_allowed == query_reference_value("snp_smt_allowed")
	count(snp_groups) > 0
}

else := 3 if {
	input.snp
	snp_closed
}

snp_closed if {
	input.snp.policy_debug_allowed == false
	input.snp.policy_migrate_ma == false
}

##### TPM 2.0

executables := 3 if {
	input.tpm
	input.tpm.pcr11 in query_reference_value("tpm_pcr11")
}

# Unlike CoCo's own default policy, hardware is affirmed for a listed attestation key only.
hardware := 2 if {
	input.tpm
	input.tpm.ak_public in query_reference_value("trusted_aks")
}

##### Any TEE

instance_identity := 2 if {
	input.verification.bound == "session"
	is_string(input.verification.identity)
}

##### What the init-data says about the workload, for readers of the token

extensions := [{
	"name": "ear.trustee.identifiers",
	"key": -18,
	"value": {"validated": identifiers},
}]

identifiers := object.union_n([images, users])

images := {"container_images": image_names} if {
	count(image_names) > 0
} else := {}

users := {"container_uids": user_ids} if {
	count(user_ids) > 0
} else := {}

image_names := [name |
	container := input.init_data_claims.agent_policy_claims.containers[_]
	name := container.OCI.Annotations["io.kubernetes.cri.image-name"]
]

user_ids := [id |
	container := input.init_data_claims.agent_policy_claims.containers[_]
	id := container.OCI.Process.User.UID
]
