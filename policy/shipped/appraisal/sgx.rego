##### Intel SGX
#
#   sgx_mr_enclave                this very enclave (Gramine, Occlum, Inclavare: what their signing tools print)
#   sgx_mr_signer, sgx_isv_prod_id, sgx_isv_svn
#                                 signer, product (hex, as in the quote) and version (a number) of one release
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
	signer := input.sgx.body.mr_signer
	input.reference.sgx_mr_signer[signer].value == signer
	product := input.sgx.body.isv_prod_id
	input.reference.sgx_isv_prod_id[product].value == product
	some key
	input.reference.sgx_isv_svn[key].value == input.sgx.enclave.isv_svn
	count(sgx_groups) > 0
}

sgx_enclave if {
	enclave := input.sgx.body.mr_enclave
	input.reference.sgx_mr_enclave[enclave].value == enclave
}

# The releases that signer, product and version belong to.
sgx_groups := intersection({
	reference_groups("sgx_mr_signer", input.sgx.body.mr_signer),
	reference_groups("sgx_isv_prod_id", input.sgx.body.isv_prod_id),
	reference_groups("sgx_isv_svn", input.sgx.enclave.isv_svn),
})

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
