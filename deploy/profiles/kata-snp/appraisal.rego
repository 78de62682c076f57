# Appraisal policy of the profile kata-snp (docs/profiles.md).
#
#   snp_launch_measurement   OVMF, vCPUs, kernel, initrd, command line: rule snp-launch-digest, kernel_hashes
#   snp_host_data            init-data, and the agent policy in it: rule init-data
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

# Whose failure is whose fault stands in the checks; nothing is affirmed on a platform that failed one.
genuine if {
	input.verification.tee == "snp"
	input.verification.failed == []
}

# 2: genuine, and of a TCB that the settings accept ([snp.tcb_floors]).
hardware := 2 if {
	genuine
}

# 3: firmware, kernel, initrd and command line are those of a release.
executables := 3 if {
	input.verification.tee == "snp"
	count(boot_groups) > 0
}

# 2: the approved configuration: closed to the host, and the init-data of the release that was booted.
configuration := 2 if {
	genuine
	closed
	count(intersection({boot_groups, init_data_groups})) > 0
}

# 2: memory and registers are encrypted, and no privilege level below the guest's own stands beside it.
runtime_opaque := 2 if {
	input.verification.tee == "snp"
	closed
}

closed if {
	input.snp.policy_debug_allowed == false
	input.snp.policy_migrate_ma == false
	input.snp.vmpl == 0
}

boot_groups := reference_groups("snp_launch_measurement", input.snp.measurement)

init_data_groups := reference_groups("snp_host_data", input.snp.host_data)
