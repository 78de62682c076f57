# A resource policy to choose: every part of the guest is affirmed, whatever it is; sample evidence too, if the
# appraisal policy affirms it.
package policy

default allow := false

allow if {
	count(input.submods) > 0
	count(refused) == 0
}

refused contains name if {
	some name, submod in input.submods
	not is_object(submod)
}

refused contains name if {
	some name, submod in input.submods
	is_object(submod)
	object.get(submod, "ear.status", "none") != "affirming"
}

reasons contains "a part of the guest is not affirmed" if count(refused) > 0
