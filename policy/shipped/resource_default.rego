# The default resource policy: a resource goes to a guest of which every part is affirmed, and whose evidence
# comes from hardware.
#
# input: the claims of the verified attestation token. data: what is asked for (plugin, resource-path, query).
# Other plugins than `resource` are not served by it: name them in a policy of your own.
package policy

default allow := false

allow if {
	data.plugin == "resource"
	is_object(input.submods)
	is_object(cpu)
	count(refused) == 0
}

# Parts that are not affirmed: an absent status and `none` are no affirmation.
refused contains name if {
	some name, submod in input.submods
	not is_object(submod)
}

refused contains name if {
	some name, submod in input.submods
	is_object(submod)
	object.get(submod, "ear.status", "none") != "affirming"
}

# Parts whose evidence is not told, or made up for tests.
refused contains name if {
	some name, submod in input.submods
	is_object(submod)
	evidence := object.get(submod, "ear.veraison.annotated-evidence", {})
	count(object.keys(evidence) - samples) == 0
}

refused contains name if {
	some name, submod in input.submods
	is_object(submod)
	evidence := object.get(submod, "ear.veraison.annotated-evidence", {})
	count(object.keys(evidence) & samples) > 0
}

samples := {"sample", "sampledevice"}

reasons contains "a part of the guest is not affirmed by evidence of hardware" if count(refused) > 0

reasons contains "nothing is said of the guest's CPU" if not is_object(cpu)

default cpu := null

cpu := input.submods.cpu0
