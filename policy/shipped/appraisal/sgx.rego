##### Intel SGX
#
#   sgx_mr_enclave                this very enclave (Gramine, Occlum, Inclavare: what their signing tools print)
#   sgx_mr_signer, sgx_isv_prod_id, sgx_isv_svn
#                                 signer, product and lowest security version (numbers) of one release
#
# Which TCB statuses are acceptable is a setting of the verifier: what fails there is in input.verification.failed.

# 2: genuine and supported.
hardware := 2 if {
	input.verification.tee == "sgx"
	is_string(input.sgx.body.mr_enclave)
	input.sgx.tcb_status != "Revoked"
	input.verification.failed == []
}

# 3: this enclave is approved.
executables := 3 if {
	input.verification.tee == "sgx"
	sgx_enclave
}

# 4: a release of a known signer, whose contents nobody vouches for by themselves.
executables := 4 if {
	input.verification.tee == "sgx"
	not sgx_enclave
	count(sgx_groups) > 0
}

sgx_enclave if {
	enclave := input.sgx.body.mr_enclave
	input.reference.sgx_mr_enclave[enclave].value == enclave
}

# The releases of that signer and product whose lowest security version the enclave reaches.
sgx_groups := intersection({
	reference_groups("sgx_mr_signer", input.sgx.body.mr_signer),
	reference_groups("sgx_isv_prod_id", input.sgx.enclave.isv_prod_id),
	sgx_version_groups,
})

sgx_version_groups := {group |
	entry := input.reference.sgx_isv_svn[_]
	is_number(entry.value)
	input.sgx.enclave.isv_svn >= entry.value
	group := entry.groups[_]
}

# 3: no known vulnerabilities: nobody can look in from outside.
configuration := 3 if {
	input.verification.tee == "sgx"
	input.sgx.enclave.debug == false
	input.sgx.enclave.initialised == true
	input.verification.init_data != "unsupported"
	input.verification.failed == []
}

# 2: memory is encrypted by the platform.
runtime_opaque := 2 if {
	input.verification.tee == "sgx"
	input.sgx.enclave.debug == false
}
