# A resource policy that closes the key broker.
package policy

allow := false

reasons contains "every resource is withheld"
