# The appraisal policy of Confidential Containers' attestation service for what runs on the CPU: one rule set per
# TEE. Reference values by query_reference_value, under the names that CoCo's own default policy uses where it
# has one; a name without a live value meets nothing.
#
# Claims: executables 3 (approved, as booted), 4 (recognised), 33 (not recognised); hardware 2, 97;
# configuration 2 (approved), 3 (nothing known against it), 36 (not known).
#
# Reference names. `in`: a list of values to choose from; `==`: one value. Either form is taken for each of them
# (kbs-client makes a list unless --as-single-value); a minimum (`>=`) must be one value.
#
#   sample         in  launch_digest, svn                ==  major_version         >=  minimum_minor_version
#   snp            in  snp_launch_measurement, snp_bootloader, snp_microcode, snp_snp_svn, snp_tee_svn
#                  ==  snp_smt_enabled, snp_tsme_enabled, snp_guest_abi_major, snp_guest_abi_minor,
#                      snp_single_socket, snp_smt_allowed
#   tdx            in  rtmr_1, rtmr_2, mr_td, xfam       ==  tdvfkernel, tdvfkernelparams
#   az-snp-vtpm    in  measurement, snp_pcr11, tcb_bootloader, tcb_microcode, tcb_snp, tcb_tee, smt_enabled,
#                      tsme_enabled, abi_major, abi_minor, single_socket, smt_allowed (texts: "3", "true")
#   az-tdx-vtpm    in  tdx_pcr11, mr_td, xfam
#   tpm            in  tpm_pcr11, trusted_aks
#   se             in  se_tag, se_image_phkh, se_attestation_phkh, se_version
#   sgx            in  sgx_mr_enclave, sgx_mr_signer, sgx_isv_prod_id, sgx_attributes_flags (hex, as in the quote)
#                  >=  sgx_minimum_isv_svn (a number)
#   csv            in  csv_measure, csv_api_major, csv_api_minor
#   cca            in  cca_realm_initial_measurement, cca_platform_implementation_id,
#                      cca_platform_sw_component, cca_platform_config
#
# A release matches as a whole: values that belong together must have a group in common (reference_groups). What
# an administrator declared goes with any. A trusted attestation key says which machine it is, not which release.
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

# A value and what is registered: the one value, or a list that has it.
met(value, registered) if value == registered

met(value, registered) if {
	is_array(registered)
	value in registered
}

##### Sample: evidence that anybody can make, for tests

executables := 3 if {
	met(input.sample.launch_digest, query_reference_value("launch_digest"))
}

hardware := 2 if {
	met(input.sample.svn, query_reference_value("svn"))
	met(input.sample.platform_version.major, query_reference_value("major_version"))
	minor := input.sample.platform_version.minor
	minimum := query_reference_value("minimum_minor_version")
	is_number(minor)
	is_number(minimum)
	minor >= minimum
}

configuration := 2 if {
	input.sample.debug == false
}

##### AMD SEV-SNP

executables := 3 if {
	met(input.snp.measurement, query_reference_value("snp_launch_measurement"))
}

hardware := 2 if {
	met(input.snp.reported_tcb_bootloader, query_reference_value("snp_bootloader"))
	met(input.snp.reported_tcb_microcode, query_reference_value("snp_microcode"))
	met(input.snp.reported_tcb_snp, query_reference_value("snp_snp_svn"))
	met(input.snp.reported_tcb_tee, query_reference_value("snp_tee_svn"))
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
	snp_closed
	met(input.snp.platform_smt_enabled, query_reference_value("snp_smt_enabled"))
	met(input.snp.platform_tsme_enabled, query_reference_value("snp_tsme_enabled"))
	met(input.snp.policy_abi_major, query_reference_value("snp_guest_abi_major"))
	met(input.snp.policy_abi_minor, query_reference_value("snp_guest_abi_minor"))
	met(input.snp.policy_single_socket, query_reference_value("snp_single_socket"))
	met(input.snp.policy_smt_allowed, query_reference_value("snp_smt_allowed"))
	count(snp_groups) > 0
}

else := 3 if {
	snp_closed
}

# Nobody can look in from outside, nor move the guest elsewhere.
snp_closed if {
	input.snp.policy_debug_allowed == false
	input.snp.policy_migrate_ma == false
}

##### Intel TDX

# RTMR 1 and 2 hold what is booted: kernel, initrd, command line. 3 where the event log names kernel and command
# line as approved by themselves, 4 where only the registers are (a boot loader stands in between).
executables := 3 if {
	tdx_registers
	tdx_kernel
	tdx_command_line
}

else := 4 if {
	tdx_registers
}

tdx_registers if {
	met(input.tdx.quote.body.rtmr_1, query_reference_value("rtmr_1"))
	met(input.tdx.quote.body.rtmr_2, query_reference_value("rtmr_2"))
	count(intersection({
		reference_groups("rtmr_1", input.tdx.quote.body.rtmr_1),
		reference_groups("rtmr_2", input.tdx.quote.body.rtmr_2),
	})) > 0
}

# The log was replayed against the registers by the verifier. The digest says which kernel it is; the event's
# words about its path are covered by nothing. Registers as a log numbers them: 2 is RTMR 1, 3 is RTMR 2; 4, which
# the guest extends as it likes, proves nothing.
tdx_kernel if {
	event := input.tdx.uefi_event_logs[_]
	event.index == 2
	event.type_name == "EV_EFI_BOOT_SERVICES_APPLICATION"
	event.digests[_].digest in kernels
}

# What is registered, as a set: it is looked into for each event of the log.
kernels contains value if {
	value := query_reference_value("tdvfkernel")
	not is_array(value)
}

kernels contains value if {
	registered := query_reference_value("tdvfkernel")
	is_array(registered)
	value := registered[_]
}

tdx_command_line if {
	event := input.tdx.uefi_event_logs[_]
	event.index in {2, 3}
	event.type_name == "EV_EVENT_TAG"
	event.details.string == "LOADED_IMAGE::LoadOptions"
	event.digests[_].digest in command_lines
}

# Likewise.
command_lines contains value if {
	value := query_reference_value("tdvfkernelparams")
	not is_array(value)
}

command_lines contains value if {
	registered := query_reference_value("tdvfkernelparams")
	is_array(registered)
	value := registered[_]
}

# Quotes of a TD, made by Intel's quoting enclave.
td_quote := "81000000"

intel := "939a7233f79c4ca9940a0db3957f0607"

hardware := 2 if {
	input.tdx.quote.header.tee_type == td_quote
	input.tdx.quote.header.vendor_id == intel
	met(input.tdx.quote.body.mr_td, query_reference_value("mr_td"))
	input.tdx.tcb_status == "UpToDate"
	input.tdx.collateral_expiration_status == "0"
}

configuration := 2 if {
	input.tdx.td_attributes.debug == false
	met(input.tdx.quote.body.xfam, query_reference_value("xfam"))
}

##### Azure, SEV-SNP behind a vTPM: the claims are texts, the measurement in base64

executables := 3 if {
	met(input["az-snp-vtpm"].measurement, query_reference_value("measurement"))
	met(input["az-snp-vtpm"].tpm.pcr11, query_reference_value("snp_pcr11"))
	count(intersection({
		reference_groups("measurement", input["az-snp-vtpm"].measurement),
		reference_groups("snp_pcr11", input["az-snp-vtpm"].tpm.pcr11),
	})) > 0
}

hardware := 2 if {
	met(input["az-snp-vtpm"].reported_tcb_bootloader, query_reference_value("tcb_bootloader"))
	met(input["az-snp-vtpm"].reported_tcb_microcode, query_reference_value("tcb_microcode"))
	met(input["az-snp-vtpm"].reported_tcb_snp, query_reference_value("tcb_snp"))
	met(input["az-snp-vtpm"].reported_tcb_tee, query_reference_value("tcb_tee"))
}

configuration := 2 if {
	input["az-snp-vtpm"].policy_debug_allowed in no
	input["az-snp-vtpm"].policy_migrate_ma in no
	met(input["az-snp-vtpm"].platform_smt_enabled, query_reference_value("smt_enabled"))
	met(input["az-snp-vtpm"].platform_tsme_enabled, query_reference_value("tsme_enabled"))
	met(input["az-snp-vtpm"].policy_abi_major, query_reference_value("abi_major"))
	met(input["az-snp-vtpm"].policy_abi_minor, query_reference_value("abi_minor"))
	met(input["az-snp-vtpm"].policy_single_socket, query_reference_value("single_socket"))
	met(input["az-snp-vtpm"].policy_smt_allowed, query_reference_value("smt_allowed"))
}

no := {"false", false}

##### Azure, TDX behind a vTPM

executables := 3 if {
	met(input["az-tdx-vtpm"].tpm.pcr11, query_reference_value("tdx_pcr11"))
}

hardware := 2 if {
	input["az-tdx-vtpm"].quote.header.tee_type == td_quote
	input["az-tdx-vtpm"].quote.header.vendor_id == intel
	met(input["az-tdx-vtpm"].quote.body.mr_td, query_reference_value("mr_td"))
	input["az-tdx-vtpm"].tcb_status == "UpToDate"
	input["az-tdx-vtpm"].collateral_expiration_status == "0"
}

configuration := 2 if {
	input["az-tdx-vtpm"].td_attributes.debug == false
	met(input["az-tdx-vtpm"].quote.body.xfam, query_reference_value("xfam"))
}

##### TPM 2.0: whose key it is must be known, or anybody's software TPM would do

executables := 3 if {
	met(input.tpm.pcr11, query_reference_value("tpm_pcr11"))
	met(input.tpm.ak_public, query_reference_value("trusted_aks"))
}

hardware := 2 if {
	met(input.tpm.ak_public, query_reference_value("trusted_aks"))
}

# 0: a TPM says nothing about the machine's configuration.
configuration := 0 if {
	input.tpm
}

##### IBM Secure Execution: image and host by their keys' hashes, not by the mere presence of evidence

executables := 3 if {
	met(input.se.tag, query_reference_value("se_tag"))
	met(input.se.image_phkh, query_reference_value("se_image_phkh"))
	count(intersection({
		reference_groups("se_tag", input.se.tag),
		reference_groups("se_image_phkh", input.se.image_phkh),
	})) > 0
}

hardware := 2 if {
	met(input.se.attestation_phkh, query_reference_value("se_attestation_phkh"))
}

configuration := 2 if {
	met(input.se.version, query_reference_value("se_version"))
}

##### Intel SGX

# 3: this very enclave. 4: a product of a known signer, of a version that is not too old.
executables := 3 if {
	met(input.sgx.body.mr_enclave, query_reference_value("sgx_mr_enclave"))
}

else := 4 if {
	met(input.sgx.body.mr_signer, query_reference_value("sgx_mr_signer"))
	met(input.sgx.body.isv_prod_id, query_reference_value("sgx_isv_prod_id"))
	minimum := query_reference_value("sgx_minimum_isv_svn")
	is_number(minimum)
	number_of(input.sgx.body.isv_svn) >= minimum
	count(intersection({
		reference_groups("sgx_mr_signer", input.sgx.body.mr_signer),
		reference_groups("sgx_isv_prod_id", input.sgx.body.isv_prod_id),
	})) > 0
}

hardware := 2 if {
	input.sgx.header.vendor_id == intel
	input.sgx.tcb_status == "UpToDate"
	input.sgx.collateral_expiration_status == "0"
}

configuration := 2 if {
	sgx_closed
	met(input.sgx.body["attributes.flags"], query_reference_value("sgx_attributes_flags"))
}

else := 3 if {
	sgx_closed
}

# Of the first byte of the flags: bit 0 says that the enclave is initialised, bit 1 that it can be debugged.
sgx_closed if {
	is_string(input.sgx.body["attributes.flags"])
	flags := split(input.sgx.body["attributes.flags"], "")
	count(flags) == 16
	flags[1] in {"1", "5", "9", "d"}
}

# Two bytes in hex, the lower one first: "0a01" is 266.
number_of(hex) := ((ones[digits[1]] + tens[digits[0]]) + hundreds[digits[3]]) + thousands[digits[2]] if {
	is_string(hex)
	digits := split(hex, "")
	count(digits) == 4
}

ones := {
	"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7,
	"8": 8, "9": 9, "a": 10, "b": 11, "c": 12, "d": 13, "e": 14, "f": 15,
}

tens := {
	"0": 0, "1": 16, "2": 32, "3": 48, "4": 64, "5": 80, "6": 96, "7": 112,
	"8": 128, "9": 144, "a": 160, "b": 176, "c": 192, "d": 208, "e": 224, "f": 240,
}

hundreds := {
	"0": 0, "1": 256, "2": 512, "3": 768, "4": 1024, "5": 1280, "6": 1536, "7": 1792,
	"8": 2048, "9": 2304, "a": 2560, "b": 2816, "c": 3072, "d": 3328, "e": 3584, "f": 3840,
}

thousands := {
	"0": 0, "1": 4096, "2": 8192, "3": 12288, "4": 16384, "5": 20480, "6": 24576, "7": 28672,
	"8": 32768, "9": 36864, "a": 40960, "b": 45056, "c": 49152, "d": 53248, "e": 57344, "f": 61440,
}

##### Hygon CSV: a version 1 report's values count together with a known measurement alone

executables := 3 if {
	csv_measured
}

# The guest's policy names the oldest firmware interface that it runs on.
hardware := 2 if {
	csv_authentic
	met(input.csv.policy.api_major, query_reference_value("csv_api_major"))
	met(input.csv.policy.api_minor, query_reference_value("csv_api_minor"))
}

# Not to be debugged, its key and its ASID not shared, its registers encrypted, not to be sent to another machine.
configuration := 3 if {
	csv_authentic
	input.csv.policy.nodbg == 1
	input.csv.policy.noks == 1
	input.csv.policy.es == 1
	input.csv.policy.nosend == 1
	input.csv.policy.asid_reuse == 0
}

csv_measured if {
	met(input.csv.measure, query_reference_value("csv_measure"))
}

csv_authentic if {
	input.csv.version == "2"
}

csv_authentic if {
	csv_measured
}

##### Arm CCA: byte strings as lower-case hex, which CoCo's own claims (input.cca.realm) have in base64

executables := 3 if {
	met(input.cca.rim, query_reference_value("cca_realm_initial_measurement"))
}

# The implementation of the platform and each piece of its firmware are known.
hardware := 2 if {
	cca_secured
	met(input.cca.implementation_id, query_reference_value("cca_platform_implementation_id"))
	components := input.cca.sw_components
	is_array(components)
	count(components) > 0
	known := [component |
		component := input.cca.sw_components[_]
		component.value in cca_components
	]
	count(known) == count(components)
	count(intersection(cca_groups)) > 0
}

# Life cycle 0x3000 to 0x30ff: secured, that is not to be debugged.
cca_secured if {
	is_number(input.cca.lifecycle)
	input.cca.lifecycle >= 12288
	input.cca.lifecycle <= 12543
}

# What is registered, as a set.
cca_components contains value if {
	value := query_reference_value("cca_platform_sw_component")
	not is_array(value)
}

cca_components contains value if {
	registered := query_reference_value("cca_platform_sw_component")
	is_array(registered)
	value := registered[_]
}

# Of each piece of firmware, the releases that it belongs to.
cca_groups contains groups if {
	component := input.cca.sw_components[_]
	groups := reference_groups("cca_platform_sw_component", component.value)
}

configuration := 2 if {
	cca_secured
	met(input.cca.config, query_reference_value("cca_platform_config"))
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
