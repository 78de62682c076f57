##### NVIDIA GPUs and NVSwitches: each device, and a whole system behind protected PCIe, by itself
#
#   nvidia_measurements_digest    SHA-384 of all measurements of a device, in the order of their blocks
#
# It is asked for where NVIDIA's signed manifests are not at hand; where they are, they decide.

# 2: genuine, and not revoked as far as the settings demand to know.
hardware := 2 if {
	input.verification.tee == "nvidia"
	input.nvidia.device_class in {"gpu", "switch"}
	is_string(input.nvidia.chip)
	input.verification.failed == []
}

# 3: every measurement is one that NVIDIA published for these versions.
executables := 3 if {
	input.verification.tee == "nvidia"
	input.nvidia.measres == "success"
	input.verification.failed == []
}

# 4: the measurements are, as a whole, those of a device that the operator vouches for.
executables := 4 if {
	input.verification.tee == "nvidia"
	nvidia_measured_by_reference
}

# 2: secure boot, and nobody can look in; a device says so by its measurements alone.
configuration := 2 if {
	input.verification.tee == "nvidia"
	input.nvidia.secboot == true
	input.nvidia.dbgstat == "disabled"
	input.verification.failed == []
}

# 3: the same, by the word of the operator: measurements of debug firmware are others.
configuration := 3 if {
	input.verification.tee == "nvidia"
	nvidia_measured_by_reference
}

nvidia_measured_by_reference if {
	not input.nvidia.measres
	digest := input.nvidia.measurements_digest
	input.reference.nvidia_measurements_digest[digest].value == digest
	input.verification.failed == []
}

# A system behind protected PCIe says one thing: that its devices are connected to one another alone.
hardware := 0 if {
	input.verification.tee == "nvidia"
	input.nvidia.device_class == "ppcie"
	input.verification.failed == []
}

executables := 0 if {
	input.verification.tee == "nvidia"
	input.nvidia.device_class == "ppcie"
	input.verification.failed == []
}

configuration := 2 if {
	input.verification.tee == "nvidia"
	input.nvidia.device_class == "ppcie"
	input.nvidia.topology.complete == true
	input.verification.failed == []
}
