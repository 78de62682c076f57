# The appraisal policy of Confidential Containers' attestation service for GPUs.
#
# Reference names, each a list to choose from or one value:
#   nvidia           allowed_vbios_versions, allowed_driver_versions
#   nvidia, without NVIDIA's manifests or revocation data
#                    the same, and nvidia_gpu_fwid, nvidia_gpu_measurements (hex; every one that is not zeros)
#   sampledevice     device_svn
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
	good_chain(input.nvidia["x-nvidia-gpu-attestation-report-cert-chain"])
	input.nvidia["x-nvidia-gpu-attestation-report-cert-chain-fwid-match"] == true
	input.nvidia["x-nvidia-gpu-attestation-report-parsed"] == true
	input.nvidia["x-nvidia-gpu-attestation-report-signature-verified"] == true
	input.nvidia["x-nvidia-gpu-arch-check"] == true
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
	met(input.nvidia["x-nvidia-gpu-vbios-version"], query_reference_value("allowed_vbios_versions"))
	met(input.nvidia["x-nvidia-gpu-driver-version"], query_reference_value("allowed_driver_versions"))
}

# A GPU says nothing of debug and secure boot: without manifests its measurements must be known.
else := 2 if {
	measured
	met(input.nvidia.config.vbios_version, query_reference_value("allowed_vbios_versions"))
	met(input.nvidia.config.driver_version, query_reference_value("allowed_driver_versions"))
}

else := 3 if {
	closed
}

executables := 3 if {
	remote
	good_chain(input.nvidia["x-nvidia-gpu-driver-rim-cert-chain"])
	input.nvidia["x-nvidia-gpu-driver-rim-fetched"] == true
	input.nvidia["x-nvidia-gpu-driver-rim-measurements-available"] == true
	input.nvidia["x-nvidia-gpu-driver-rim-schema-validated"] == true
	input.nvidia["x-nvidia-gpu-driver-rim-signature-verified"] == true
	input.nvidia["x-nvidia-gpu-driver-rim-version-match"] == true
	good_chain(input.nvidia["x-nvidia-gpu-vbios-rim-cert-chain"])
	input.nvidia["x-nvidia-gpu-vbios-rim-fetched"] == true
	input.nvidia["x-nvidia-gpu-vbios-rim-measurements-available"] == true
	input.nvidia["x-nvidia-gpu-vbios-rim-schema-validated"] == true
	input.nvidia["x-nvidia-gpu-vbios-rim-signature-verified"] == true
	input.nvidia["x-nvidia-gpu-vbios-rim-version-match"] == true
	input.nvidia.measres == "success"
}

##### Without manifests: certificate chain and signature by the verifier, the values by reference

hardware := 2 if {
	met(input.nvidia.config.fwid, query_reference_value("nvidia_gpu_fwid"))
}

executables := 3 if {
	measured
}

# Every block that was measured has a registered value; one of zeros was not.
measured if {
	reported := input.nvidia.measurements
	is_array(reported)
	known := [measurement |
		measurement := input.nvidia.measurements[_]
		measurement in measurements
	]
	count(known) > 0
	zeros := [measurement |
		measurement := input.nvidia.measurements[_]
		measurement == unmeasured
	]
	count(known) + count(zeros) == count(reported)
}

unmeasured := "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"

# What is registered, as a set.
measurements contains value if {
	value := query_reference_value("nvidia_gpu_measurements")
	not is_array(value)
}

measurements contains value if {
	registered := query_reference_value("nvidia_gpu_measurements")
	is_array(registered)
	value := registered[_]
}

##### Sample device: evidence that anybody can make, for tests

hardware := 2 if {
	met(input.sampledevice.svn, query_reference_value("device_svn"))
}
