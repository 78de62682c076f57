##### Azure confidential VM on AMD SEV-SNP: a vTPM that an SNP report vouches for
#
#   az_snp_id_key_digest          who signed the paravisor (ID key of the SNP report)
#   az_snp_guest_svn              its security version (a number)
#   snp_pcr04, snp_pcr09          boot loader or unified kernel image; kernel and initrd
#   snp_pcr11, snp_pcr12          parts of a unified kernel image; its command line and credentials
#   snp_pcr07                     secure-boot policy
#
# Azure's launch measurement changes with every update of the paravisor: ID key and SVN stand for it.
# A register that nothing extends has a reference value too: the zeros it starts with. Register 8 holds
# init-data.

# 2: genuine and supported.
hardware := 2 if {
	input.verification.tee == "az-snp-vtpm"
	is_string(input["az-snp-vtpm"].snp.measurement)
	input["az-snp-vtpm"].tpm.safe == true
	input.verification.failed == []
}

# 3: an approved paravisor, and only approved executables were loaded during boot.
executables := 3 if {
	input.verification.tee == "az-snp-vtpm"
	key := input["az-snp-vtpm"].snp.id_key_digest
	input.reference.az_snp_id_key_digest[key].value == key
	svn := input["az-snp-vtpm"].snp.guest_svn
	input.reference.az_snp_guest_svn[sprintf("%v", [svn])].value == svn
	loader := input["az-snp-vtpm"].tpm.pcr04
	input.reference.snp_pcr04[loader].value == loader
	kernel := input["az-snp-vtpm"].tpm.pcr09
	input.reference.snp_pcr09[kernel].value == kernel
	image := input["az-snp-vtpm"].tpm.pcr11
	input.reference.snp_pcr11[image].value == image
	parameters := input["az-snp-vtpm"].tpm.pcr12
	input.reference.snp_pcr12[parameters].value == parameters
	count(az_snp_boot_groups) > 0
}

# The releases of the guest that all four registers belong to.
az_snp_boot_groups := intersection({
	reference_groups("snp_pcr04", input["az-snp-vtpm"].tpm.pcr04),
	reference_groups("snp_pcr09", input["az-snp-vtpm"].tpm.pcr09),
	reference_groups("snp_pcr11", input["az-snp-vtpm"].tpm.pcr11),
	reference_groups("snp_pcr12", input["az-snp-vtpm"].tpm.pcr12),
})

# 2: the approved configuration: the release's secure-boot policy, and no serial console to the host.
configuration := 2 if {
	az_snp_closed
	input["az-snp-vtpm"].vm_configuration["console-enabled"] == false
	secure_boot := input["az-snp-vtpm"].tpm.pcr07
	input.reference.snp_pcr07[secure_boot].value == secure_boot
	secure_boot_groups := reference_groups("snp_pcr07", secure_boot)
	count(intersection({az_snp_boot_groups, secure_boot_groups})) > 0
} else := 3 if {
	az_snp_closed
}

# Nobody can look in from outside, nor move the guest elsewhere, and Secure Boot is on.
az_snp_closed if {
	input.verification.tee == "az-snp-vtpm"
	input["az-snp-vtpm"].snp.policy_debug_allowed == false
	input["az-snp-vtpm"].snp.policy_migrate_ma == false
	input["az-snp-vtpm"].snp.vmpl == 0
	input["az-snp-vtpm"].vm_configuration["secure-boot"] == true
	input.verification.init_data != "unsupported"
	input.verification.failed == []
}

# 2: memory is encrypted by the platform.
runtime_opaque := 2 if {
	input.verification.tee == "az-snp-vtpm"
	input["az-snp-vtpm"].snp.policy_debug_allowed == false
}
