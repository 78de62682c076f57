# Appraisal policy of the profile kata-csv (docs/profiles.md).
#
#   csv_measure   launch measurement (SM3) of the whole guest: stated in a signed statement, rule reference-values
#
#   No field of a CSV report is for init-data: what the agent may do must stand in the measured image. Init-data that a guest
#   shows beside its report is unsupported, and spoils the configuration.
#
# Everything that is compared belongs to one release: of each claim, the values are of one group. What is not proven is
# not affirmed; what a claim says then is its default.
package policy

import rego.v1

trust_claims := {
	"instance-identity": instance_identity,
	"configuration": configuration,
	"executables": executables,
	"hardware": hardware,
	"runtime-opaque": runtime_opaque,
}

# 97: not recognised: the evidence is bound to nobody, or its platform is nameless.
default instance_identity := 97

# 97: not recognised as genuine.
default hardware := 97

# 96: software that nobody vouches for is refused.
default executables := 96

# 96: a configuration that is not the release's is refused.
default configuration := 96

# 96: the host may be able to look in.
default runtime_opaque := 96

# 2: a known instance: fresh or bound by its relying party, on a platform that is known by name.
instance_identity := 2 if {
	input.verification.bound in {"session", "report-data"}
	is_string(input.verification.identity)
	genuine
}

# A version 1 report does not sign its mask: nothing in it is believed without a measurement of a release.
genuine if {
	measured
	input.verification.failed == []
}

measured if {
	input.verification.tee == "csv"
	count(reference_groups("csv_measure", input.csv.measure)) > 0
}

# 2: genuine: the chain ends at Hygon's root. Hygon publishes no list of what is up to date: floors are the
# settings' ([csv] minimum_build).
hardware := 2 if {
	genuine
}

# 3: firmware, kernel, initrd and command line are those of a release.
executables := 3 if {
	measured
}

# 2: the approved configuration: all of it is measured.
configuration := 2 if {
	genuine
	closed
	input.csv.policy.nosend == 1
	input.verification.init_data == "absent"
}

# 2: memory and registers are encrypted, and isolated by hardware (CSV3).
runtime_opaque := 2 if {
	measured
	closed
}

closed if {
	input.csv.policy.nodbg == 1
	input.csv.policy.noks == 1
	input.csv.policy.es == 1
	input.csv.policy.csv3 == 1
	input.csv.policy.asid_reuse == 0
}
