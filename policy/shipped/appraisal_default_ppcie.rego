# The appraisal policy of Confidential Containers' attestation service for a protected PCIe topology.
#
# Such a result is made only where the verifier found the topology complete (eight GPUs, four switches): that it
# is there is what it says. The devices are judged by their own results. No reference values.
package policy

import rego.v1

default configuration := 36

configuration := 2 if {
	input.verification.failed == []
}

trust_claims := {
	"executables": 0,
	"hardware": 0,
	"configuration": configuration,
	"instance-identity": 0,
	"file-system": 0,
	"runtime-opaque": 0,
	"storage-opaque": 0,
	"sourced-data": 0,
}
