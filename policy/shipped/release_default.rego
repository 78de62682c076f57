# The default release policy: a secret goes to a guest whose attestation result affirms each claim that
# keeping a secret rests on. Never only ear.status: a result that affirms one claim and is silent on the
# others has an affirming status, too.
#
# input.ear: the claims of the verified attestation result (EAR); input.resource: what is asked for
# (kind, id, version; of a resource also repository, type, tag).
package policy

import rego.v1

default allow := false

allow if {
	is_string(input.resource.id)
	appraisal["ear.status"] == "affirming"
	input.ear.touchstone.bound == "session"
	input.ear.touchstone.reference_values[_]
	affirmed == required
	not any_refused
}

# A device beside the machine, of which something is not as it must be.
any_refused if {
	some submod in input.ear.submods
	not submod["ear.status"] == "affirming"
}

required := {"instance-identity", "configuration", "executables", "hardware"}

# AR4SI: 2..31, and -32..-2 for a verifier's own values.
affirmed contains name if {
	some name in required
	value := appraisal["ear.trustworthiness-vector"][name]
	is_number(value)
	value >= 2
	value <= 31
}

affirmed contains name if {
	some name in required
	value := appraisal["ear.trustworthiness-vector"][name]
	is_number(value)
	value >= -32
	value <= -2
}

appraisal := input.ear.submods.cpu0

# Why not: nothing below grants anything.

reasons contains sprintf("the attestation result does not affirm %v", [name]) if {
	some name in required - affirmed
}

reasons contains "the attestation result has no affirming status" if {
	status := object.get(input, ["ear", "submods", "cpu0", "ear.status"], "absent")
	status != "affirming"
}

reasons contains sprintf("the result of %v has no affirming status", [name]) if {
	some name, submod in input.ear.submods
	name != "cpu0"
	not submod["ear.status"] == "affirming"
}

reasons contains "the evidence is not bound to a session key of the guest" if {
	bound := object.get(input, ["ear", "touchstone", "bound"], "absent")
	bound != "session"
}

reasons contains "the result rests on no reference value" if {
	found := object.get(input, ["ear", "touchstone", "reference_values"], [])
	found == []
}

reasons contains "no resource is named" if {
	id := object.get(input, ["resource", "id"], null)
	not is_string(id)
}
