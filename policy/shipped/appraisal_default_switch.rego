# The appraisal policy of Confidential Containers' attestation service for NVIDIA switches.
#
# Reference name, a list to choose from or one value: allowed_switch_bios_versions.
package policy

import rego.v1

default executables := 33

default hardware := 97

default configuration := 36

trust_claims := {
	"executables": executables,
	"hardware": hardware,
	"configuration": configuration,
	"instance-identity": 0,
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

##### NVIDIA's reference manifests vouch for the firmware: by our verifier, or NVIDIA's attestation service

remote if not denied

denied if {
	input.nvidia["x-nvidia-overall-att-result"] != true
}

hardware := 2 if {
	remote
	good_chain(input.nvidia["x-nvidia-switch-attestation-report-cert-chain"])
	input.nvidia["x-nvidia-switch-attestation-report-cert-chain-fwid-match"] == true
	input.nvidia["x-nvidia-switch-attestation-report-parsed"] == true
	input.nvidia["x-nvidia-switch-attestation-report-signature-verified"] == true
	input.nvidia["x-nvidia-switch-arch-check"] == true
}

good_chain(chain) if {
	chain["x-nvidia-cert-ocsp-status"] == "good"
	chain["x-nvidia-cert-status"] == "valid"
}

# Secure boot, and nobody can look in.
closed if {
	input.nvidia.secboot == true
	input.nvidia.dbgstat == "disabled"
}

configuration := 2 if {
	closed
	met(input.nvidia["x-nvidia-switch-bios-version"], query_reference_value("allowed_switch_bios_versions"))
}

else := 3 if {
	closed
}

executables := 3 if {
	remote
	good_chain(input.nvidia["x-nvidia-switch-bios-rim-cert-chain"])
	input.nvidia["x-nvidia-switch-bios-rim-fetched"] == true
	input.nvidia["x-nvidia-switch-bios-rim-measurements-available"] == true
	input.nvidia["x-nvidia-switch-bios-rim-schema-validated"] == true
	input.nvidia["x-nvidia-switch-bios-rim-signature-verified"] == true
	input.nvidia["x-nvidia-switch-bios-rim-version-match"] == true
	input.nvidia.measres == "success"
}
