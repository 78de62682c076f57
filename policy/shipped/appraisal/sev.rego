##### AMD SEV and SEV-ES, without SNP: engine floors keep identity at 0 and hardware at 32
#
#   sev_launch_digest             launch digest

# 32: genuine, with known vulnerabilities: memory has no integrity.
hardware := 32 if {
	input.verification.tee == "sev"
	is_string(input.sev.launch_digest)
	input.verification.failed == []
}

# 3: only approved executables were loaded during boot.
executables := 3 if {
	input.verification.tee == "sev"
	digest := input.sev.launch_digest
	input.reference.sev_launch_digest[digest].value == digest
}

# 3: no known vulnerabilities: nobody can look in from outside, nor move the guest elsewhere.
configuration := 3 if {
	input.verification.tee == "sev"
	input.sev.policy_debug_allowed == false
	input.sev.policy_key_sharing_allowed == false
	input.sev.policy_send_allowed == false
	input.sev.policy_es == true
	input.verification.init_data != "unsupported"
	input.verification.failed == []
}
