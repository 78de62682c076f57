# Appraisal policy of the profile sgx-gramine (docs/profiles.md).
#
#   sgx_mr_enclave                     Gramine, and the manifest with the hashes of all trusted files: rule sgx-enclave
#   sgx_mr_signer, sgx_isv_prod_id     who signed it, as which product
#   sgx_isv_svn                        lowest security version
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

# 3: this very Gramine with this very manifest, by this signer, as this product, and not an older version of it.
executables := 3 if {
	input.verification.tee == "sgx"
	count(enclave_groups) > 0
}

# 2: the approved configuration: it is the manifest. Gramine sets neither KSS nor CONFIGID, so that nothing was
# configured at launch; an enclave with KSS is another build.
configuration := 2 if {
	genuine
	closed
	count(enclave_groups) > 0
	input.sgx.enclave.kss == false
	input.sgx.body.config_id == no_config_id
	input.sgx.enclave.config_svn == 0
}

enclave_groups := intersection({
	reference_groups("sgx_mr_enclave", input.sgx.body.mr_enclave),
	signer_groups,
})

zeros := "00000000000000000000000000000000"

no_config_id := concat("", [zeros, zeros, zeros, zeros])
