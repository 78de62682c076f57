# Appraisal policy of the profile sgx-occlum (docs/profiles.md).
#
#   sgx_mr_enclave                     the LibOS: rule sgx-enclave
#   sgx_mr_signer, sgx_isv_prod_id     who signed it, as which product
#   sgx_isv_svn                        lowest security version
#   sgx_isv_family_id                  MAC of the configuration, and by it of both file systems (KSS)
#   sgx_isv_ext_prod_id                as Occlum.json has it (KSS)
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
	"file-system": file_system,
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

# 96: files that nobody vouches for.
default file_system := 96

# 2: a known instance: fresh or bound by its relying party, on a platform that is known by name.
instance_identity := 2 if {
	input.verification.bound in {"session", "report-data"}
	is_string(input.verification.identity)
	genuine
}

# Whose failure is whose fault stands in the checks; nothing is affirmed on a platform that failed one.
genuine if {
	input.verification.tee == "sgx"
	input.verification.failed == []
}

# 2: genuine, with platform and quoting enclave up to date.
hardware := 2 if {
	input.sgx.tcb_status == "UpToDate"
	genuine
}

# 96: genuine, and its TCB is not up to date. Stricter than the verifier, which also takes SWHardeningNeeded.
hardware := 96 if {
	input.sgx.tcb_status != "UpToDate"
}

# 2: memory is encrypted, and the enclave is closed to debuggers.
runtime_opaque := 2 if {
	input.verification.tee == "sgx"
	closed
}

closed if {
	input.sgx.enclave.debug == false
	input.sgx.enclave.initialised == true
	input.sgx.enclave.mode64 == true
	input.sgx.enclave.provision_key == false
}

signer_groups := intersection({
	reference_groups("sgx_mr_signer", input.sgx.body.mr_signer),
	reference_groups("sgx_isv_prod_id", input.sgx.enclave.isv_prod_id),
	version_groups,
})

# Releases whose security version the enclave reaches: the value is a minimum.
version_groups := {group |
	entry := input.reference.sgx_isv_svn[_]
	is_number(entry.value)
	input.sgx.enclave.isv_svn >= entry.value
	group := entry.groups[_]
}

# 3: this very LibOS, by this signer, as this product, and not an older version of it.
executables := 3 if {
	input.verification.tee == "sgx"
	count(enclave_groups) > 0
}

# 2: the files are those of the release: the LibOS holds the configuration against the MAC in ISVFAMILYID, and both file
# systems against the MACs in the configuration.
file_system := 2 if {
	genuine
	closed
	input.sgx.enclave.kss == true
	input.sgx.body.isv_family_id != no_identifier
	count(release_groups) > 0
}

# 2: the approved configuration of the release: entry points, environment and mounts, too, stand under that MAC. Nothing
# was configured at launch.
configuration := 2 if {
	genuine
	closed
	input.sgx.enclave.kss == true
	input.sgx.body.isv_family_id != no_identifier
	count(release_groups) > 0
	input.sgx.body.config_id == no_config_id
	input.sgx.enclave.config_svn == 0
}

enclave_groups := intersection({
	reference_groups("sgx_mr_enclave", input.sgx.body.mr_enclave),
	signer_groups,
})

release_groups := intersection({
	enclave_groups,
	reference_groups("sgx_isv_family_id", input.sgx.body.isv_family_id),
	reference_groups("sgx_isv_ext_prod_id", input.sgx.body.isv_ext_prod_id),
})

no_identifier := "00000000000000000000000000000000"

no_config_id := concat("", [no_identifier, no_identifier, no_identifier, no_identifier])
