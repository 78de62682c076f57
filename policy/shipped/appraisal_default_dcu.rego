# The appraisal policy of Confidential Containers' attestation service for Hygon DCUs.
#
# Reference names, each a list to choose from or one value: dcu_measure, dcu_version.
package policy

import rego.v1

default executables := 33

default hardware := 97

# 0: the evidence says nothing of a configuration.
configuration := 0

trust_claims := {
	"executables": executables,
	"hardware": hardware,
	"configuration": configuration,
	"instance-identity": 0,
	"file-system": 0,
	"runtime-opaque": 0,
	"storage-opaque": 0,
	"sourced-data": 0,
}

# A value and what is registered: the one value, or a list that has it.
met(value, registered) if value == registered

met(value, registered) if {
	is_array(registered)
	value in registered
}

executables := 3 if {
	met(input.hygondcu.body.measure, query_reference_value("dcu_measure"))
}

hardware := 2 if {
	met(input.hygondcu.body.version, query_reference_value("dcu_version"))
}
