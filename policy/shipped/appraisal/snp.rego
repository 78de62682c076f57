##### AMD SEV-SNP
#
#   snp_launch_measurement        launch digest

# 2: genuine and supported.
hardware := 2 if {
	input.verification.tee == "snp"
	is_string(input.snp.measurement)
	input.verification.failed == []
}

# 3: only approved executables were loaded during boot.
executables := 3 if {
	input.verification.tee == "snp"
	measurement := input.snp.measurement
	input.reference.snp_launch_measurement[measurement].value == measurement
}

# 3: no known vulnerabilities: nobody can look in from outside, nor move the guest elsewhere.
configuration := 3 if {
	input.verification.tee == "snp"
	input.snp.policy_debug_allowed == false
	input.snp.policy_migrate_ma == false
	input.snp.vmpl == 0
	input.verification.init_data != "unsupported"
	input.verification.failed == []
}

# 2: memory is encrypted by the platform.
runtime_opaque := 2 if {
	input.verification.tee == "snp"
	input.snp.policy_debug_allowed == false
}
