##### AWS Nitro Enclaves: a document says nothing about how memory is protected
#
#   nitro_pcr0, nitro_pcr1, nitro_pcr2   enclave image; kernel and boot ramdisk; application

# 2: genuine and supported.
hardware := 2 if {
	input.verification.tee == "nitro"
	is_string(input.nitro.module_id)
	input.verification.failed == []
}

# 3: only approved executables were loaded during boot.
executables := 3 if {
	input.verification.tee == "nitro"
	image := input.nitro.pcr0
	input.reference.nitro_pcr0[image].value == image
	kernel := input.nitro.pcr1
	input.reference.nitro_pcr1[kernel].value == kernel
	application := input.nitro.pcr2
	input.reference.nitro_pcr2[application].value == application
	count(nitro_groups) > 0
}

# The releases that all three registers belong to.
nitro_groups := intersection({
	reference_groups("nitro_pcr0", input.nitro.pcr0),
	reference_groups("nitro_pcr1", input.nitro.pcr1),
	reference_groups("nitro_pcr2", input.nitro.pcr2),
})

# 3: no known vulnerabilities: nobody can look in from outside.
configuration := 3 if {
	input.verification.tee == "nitro"
	input.nitro.debug == false
	input.verification.init_data != "unsupported"
	input.verification.failed == []
}
