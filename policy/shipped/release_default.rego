# Releases a secret to a guest whose attestation result affirms, by name, all that matters.
#
# The result's overall status is not enough: a vector with one affirming claim and nothing else has the
# status "affirming" too. Affirming values are 2 to 31.
package policy

import rego.v1

default allow := false

allow if count(reasons) == 0

required := {"hardware", "configuration", "executables", "instance-identity"}

vector := input.ear.submods.cpu0["ear.trustworthiness-vector"]

affirmed contains name if {
	some name in required
	vector[name] >= 2
	vector[name] <= 31
}

missing := required - affirmed

reasons contains reason if {
	some name in missing
	reason := sprintf("the result does not affirm %v", [name])
}

reasons contains "the evidence was not bound to a challenge of ours" if not bound

reasons contains "the result rests on no reference value" if not rests

default bound := false

bound if input.ear.touchstone.bound == "session"

default rests := false

rests if count(input.ear.touchstone.reference_values) > 0
