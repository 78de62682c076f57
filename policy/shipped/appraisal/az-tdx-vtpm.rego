##### Azure confidential VM on Intel TDX: a vTPM that a TD quote vouches for
#
#   az_tdx_mr_td                  the paravisor
#   tdx_pcr04, tdx_pcr09          boot loader or unified kernel image; kernel and initrd
#   tdx_pcr11, tdx_pcr12          parts of a unified kernel image; its command line and credentials
#   tdx_pcr07                     secure-boot policy
#
# The TD's runtime registers are zero: the guest's boot is in the vTPM. A register that nothing extends has a
# reference value too: the zeros it starts with. Register 8 holds init-data.

# 2: genuine, and Intel knows nothing against its TCB.
hardware := 2 if {
	input.verification.tee == "az-tdx-vtpm"
	input["az-tdx-vtpm"].tcb_status == "UpToDate"
	input["az-tdx-vtpm"].tpm.safe == true
	input.verification.failed == []
}

# 3: an approved paravisor, and only approved executables were loaded during boot.
executables := 3 if {
	input.verification.tee == "az-tdx-vtpm"
	paravisor := input["az-tdx-vtpm"].quote.body.mr_td
	input.reference.az_tdx_mr_td[paravisor].value == paravisor
	loader := input["az-tdx-vtpm"].tpm.pcr04
	input.reference.tdx_pcr04[loader].value == loader
	kernel := input["az-tdx-vtpm"].tpm.pcr09
	input.reference.tdx_pcr09[kernel].value == kernel
	image := input["az-tdx-vtpm"].tpm.pcr11
	input.reference.tdx_pcr11[image].value == image
	parameters := input["az-tdx-vtpm"].tpm.pcr12
	input.reference.tdx_pcr12[parameters].value == parameters
	count(az_tdx_boot_groups) > 0
}

# The releases of the guest that all four registers belong to.
az_tdx_boot_groups := intersection({
	reference_groups("tdx_pcr04", input["az-tdx-vtpm"].tpm.pcr04),
	reference_groups("tdx_pcr09", input["az-tdx-vtpm"].tpm.pcr09),
	reference_groups("tdx_pcr11", input["az-tdx-vtpm"].tpm.pcr11),
	reference_groups("tdx_pcr12", input["az-tdx-vtpm"].tpm.pcr12),
})

# 2: the approved configuration: the release's secure-boot policy, and no serial console to the host.
configuration := 2 if {
	az_tdx_closed
	input["az-tdx-vtpm"].vm_configuration["console-enabled"] == false
	secure_boot := input["az-tdx-vtpm"].tpm.pcr07
	input.reference.tdx_pcr07[secure_boot].value == secure_boot
	secure_boot_groups := reference_groups("tdx_pcr07", secure_boot)
	count(intersection({az_tdx_boot_groups, secure_boot_groups})) > 0
} else := 3 if {
	az_tdx_closed
}

# Nobody can look in from outside, nor move the guest elsewhere, and Secure Boot is on.
az_tdx_closed if {
	input.verification.tee == "az-tdx-vtpm"
	input["az-tdx-vtpm"].td_attributes.debug == false
	input["az-tdx-vtpm"].td_attributes.migratable == false
	input["az-tdx-vtpm"].vm_configuration["secure-boot"] == true
	input.verification.init_data != "unsupported"
	input.verification.failed == []
}

# 2: memory is encrypted by the platform.
runtime_opaque := 2 if {
	input.verification.tee == "az-tdx-vtpm"
	input["az-tdx-vtpm"].td_attributes.debug == false
}
