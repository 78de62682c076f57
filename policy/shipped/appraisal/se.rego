##### IBM Secure Execution
#
#   se_tag                        tag of an approved image's header

# 2: genuine: a host key that IBM certifies, neither expired nor revoked, opened the request.
hardware := 2 if {
	input.verification.tee == "se"
	is_string(input.se.attestation_phkh)
	input.verification.failed == []
}

# 3: only approved executables were loaded during boot: the header's tag covers the whole image.
executables := 3 if {
	input.verification.tee == "se"
	tag := input.se.tag
	input.reference.se_tag[tag].value == tag
}

# 3: no known vulnerabilities. What an image allows is known only where the settings hold its header.
configuration := 3 if {
	input.verification.tee == "se"
	input.se.header_known == true
	input.se.dump_allowed == false
	input.verification.init_data != "unsupported"
	input.verification.failed == []
}

# 2: memory is encrypted by the platform.
runtime_opaque := 2 if {
	input.verification.tee == "se"
	input.verification.failed == []
}
