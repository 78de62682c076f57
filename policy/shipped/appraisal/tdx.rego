##### Intel TDX
#
#   mr_td                         initial contents: firmware
#   rtmr_1, rtmr_2                what was booted: boot loader or kernel; command line and initrd
#
# Which TCB statuses are acceptable is a setting of the verifier: what fails there is in input.verification.failed.

# 2: genuine and supported.
hardware := 2 if {
	input.verification.tee == "tdx"
	is_string(input.tdx.quote.body.mr_td)
	input.tdx.tcb_status != "Revoked"
	input.verification.failed == []
}

# 3: only approved executables were loaded during boot.
executables := 3 if {
	input.verification.tee == "tdx"
	firmware := input.tdx.quote.body.mr_td
	input.reference.mr_td[firmware].value == firmware
	loader := input.tdx.quote.body.rtmr_1
	input.reference.rtmr_1[loader].value == loader
	kernel := input.tdx.quote.body.rtmr_2
	input.reference.rtmr_2[kernel].value == kernel
	count(tdx_groups) > 0
}

# The releases that all three belong to.
tdx_groups := intersection({
	reference_groups("mr_td", input.tdx.quote.body.mr_td),
	reference_groups("rtmr_1", input.tdx.quote.body.rtmr_1),
	reference_groups("rtmr_2", input.tdx.quote.body.rtmr_2),
})

# 3: no known vulnerabilities: nobody can look in from outside, nor move the TD elsewhere.
configuration := 3 if {
	input.verification.tee == "tdx"
	input.tdx.td_attributes.debug == false
	input.tdx.td_attributes.migratable == false
	input.verification.init_data != "unsupported"
	input.verification.failed == []
}

# 2: memory is encrypted by the platform.
runtime_opaque := 2 if {
	input.verification.tee == "tdx"
	input.tdx.td_attributes.debug == false
}
