# Who may ask an OPA beside us, and what: questions to policy, and what a broker needs to compare the rules. Nothing can be changed.
package system.authz

default allow := false

allow if {
	input.method == "GET"
	input.path in [["health"], ["v1", "config"], ["v1", "policies"]]
}

# One table at a time.
allow if {
	input.method == "GET"
	array.slice(input.path, 0, 2) == ["v1", "data"]
	count(input.path) == 3
}

allow if {
	input.method == "POST"
	input.path == ["v1", "data", "sulku", "sealed"]
}
