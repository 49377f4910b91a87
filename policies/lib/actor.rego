# Who acts: whether their role may do this at all, whether they hold it, and how far their reach goes.
package sulku.lib.actor

import data.sulku.lib.moment

# A person counts by the role that they act in, a service by its name.
key := input.subject.role if {
	input.subject.kind == "person"
	input.subject.role in {"researcher", "steward", "auditor", "operator"}
}

key := input.subject.id if {
	input.subject.kind == "service"
	input.subject.role == "service"
}

key := "public" if {
	input.subject.kind == "public"
	input.subject.role == "public"
}

scope := data.roles.actions[input.action].who[key]

# The directory's entry of whoever asks.
self := input.about.self if input.about.self.id == input.subject.id

else := input.target if input.target.id == input.subject.id

cleared contains "role-not-allowed" if scope in {"all", "own"}

cleared contains "role-not-held" if key in self.roles

cleared contains "role-not-held" if input.subject.kind in {"service", "public"}

cleared contains "account-ended" if {
	self.state == "active"
	self.expires == null
}

cleared contains "account-ended" if {
	self.state == "active"
	moment.before(input.context.now, self.expires)
}

cleared contains "account-ended" if input.subject.kind in {"service", "public"}
