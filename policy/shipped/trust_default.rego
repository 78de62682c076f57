# Adds nothing to the hard-coded rules of a trust policy: whoever its signers, builders and sources admit.
package trust

import rego.v1

default allow := true
