# Appraisal policy of the profile kata-tdx (docs/profiles.md).
#
#   mr_td              TDVF: rule tdx-mrtd
#   rtmr_0             configuration of the firmware, memory, ACPI data, boot variables: rule tdx-rtmr
#   rtmr_1, rtmr_2     kernel as QEMU hands it over; command line, initrd: rule tdx-rtmr
#   tdx_mr_config_id   init-data, and the agent policy in it: rule init-data
#
#   RTMR3 is the running guest's own (events of the attestation agent): nothing is held against it.
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
	input.verification.tee == "tdx"
	input.verification.failed == []
}

# 2: genuine, with platform, TDX module and quoting enclave up to date.
hardware := 2 if {
	input.tdx.tcb_status == "UpToDate"
	genuine
}

# 96: genuine, and its TCB is not up to date. Stricter than the verifier, which also takes SWHardeningNeeded.
hardware := 96 if {
	input.tdx.tcb_status != "UpToDate"
}

# 3: firmware, kernel, initrd and command line are those of one release.
executables := 3 if {
	input.verification.tee == "tdx"
	count(boot_groups) > 0
}

# 2: the approved configuration: closed to the host, the machine as derived, and the init-data of the release that
# was booted.
configuration := 2 if {
	genuine
	closed
	count(intersection({boot_groups, machine_groups, init_data_groups})) > 0
}

# 2: memory and registers are encrypted, and the host cannot make the guest fault on its own memory.
runtime_opaque := 2 if {
	input.verification.tee == "tdx"
	closed
}

closed if {
	input.tdx.td_attributes.debug == false
	input.tdx.td_attributes.septve_disable == true
	input.tdx.td_attributes.migratable == false
	input.tdx.td_attributes.perfmon == false
}

boot_groups := intersection({
	reference_groups("mr_td", input.tdx.quote.body.mr_td),
	reference_groups("rtmr_1", input.tdx.quote.body.rtmr_1),
	reference_groups("rtmr_2", input.tdx.quote.body.rtmr_2),
})

machine_groups := reference_groups("rtmr_0", input.tdx.quote.body.rtmr_0)

init_data_groups := reference_groups("tdx_mr_config_id", input.tdx.quote.body.mr_config_id)
