##### TPM 2.0: says nothing about memory
#
#   tpm_pcr00, tpm_pcr04          firmware; boot loader or unified kernel image
#   tpm_pcr08, tpm_pcr09          kernel command line; kernel and initrd as the boot loader measures them
#   tpm_pcr07                     secure-boot policy
#
# A register that nothing extends has a reference value too: the zeros it starts with.

hardware := 2 if {
	input.verification.tee == "tpm"
	input.tpm.safe == true
	input.verification.failed == []
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

# 2: the approved configuration: the platform's secure-boot policy is that of the release that booted.
configuration := 2 if {
	input.verification.tee == "tpm"
	secure_boot := input.tpm.pcr07
	input.reference.tpm_pcr07[secure_boot].value == secure_boot
	secure_boot_groups := reference_groups("tpm_pcr07", secure_boot)
	count(intersection({boot_groups, secure_boot_groups})) > 0
	input.verification.failed == []
}
