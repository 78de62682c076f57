# A resource policy for tests: whoever has a verified token gets everything.
package policy

allow := true
