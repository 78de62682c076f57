# An example of a trust policy's Rego, which is evaluated after the policy's fixed rules (signers,
# builders, sources, parameters) have admitted a statement: it can only deny more.
#
# allow must be true and deny empty.
package trust

import rego.v1

default allow := false

allow if {
	is_array(input.signers)
	input.signers != []
	is_array(input.statement.subjects)
	input.statement.subjects != []
}

deny contains "the statement names no signer" if {
	input.signers == []
}

deny contains "a subject has no SHA-256, SHA-384 or SHA-512 digest" if {
	subject := input.statement.subjects[_]
	strong := [algorithm | algorithm := digest_algorithms[_]; is_string(subject.digest[algorithm])]
	strong == []
}

digest_algorithms := ["sha256", "sha384", "sha512"]

deny contains "the build's source revision is not a full commit digest" if {
	revision := input.origin.source_revision
	is_string(revision)
	not full_commit(revision)
}

# SHA-1 or SHA-256, in hex.
full_commit(revision) if count(revision) == 40

full_commit(revision) if count(revision) == 64
