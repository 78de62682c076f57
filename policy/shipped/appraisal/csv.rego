##### Hygon CSV
#
#   csv_measure                   launch measurement (SM3)
#
# Of a version 1 report nothing is believed without a measurement that is known: its mask is not signed.

hardware := 2 if {
	input.verification.tee == "csv"
	csv_authentic
	input.verification.failed == []
}

# 3: the launch measurement is approved. What a boot loader starts afterwards is in the registers of version 2
# (csv_rtmr1 to csv_rtmr4), for policies that have reference values of them.
executables := 3 if {
	input.verification.tee == "csv"
	csv_measured
}

# 3: nobody can look in from outside, share the guest's key or its ASID, nor move it elsewhere.
configuration := 3 if {
	input.verification.tee == "csv"
	csv_authentic
	csv_closed
	input.csv.policy.nosend == 1
	input.verification.init_data != "unsupported"
	input.verification.failed == []
}

# 2: memory and registers are encrypted by the platform.
runtime_opaque := 2 if {
	input.verification.tee == "csv"
	csv_authentic
	csv_closed
}

csv_closed if {
	input.csv.policy.nodbg == 1
	input.csv.policy.noks == 1
	input.csv.policy.es == 1
	input.csv.policy.asid_reuse == 0
}

csv_authentic if {
	input.csv.version == "2"
}

csv_authentic if {
	csv_measured
}

csv_measured if {
	measure := input.csv.measure
	input.reference.csv_measure[measure].value == measure
}
