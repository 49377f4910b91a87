# The directory: who may enter, change and see people.
package sulku.person

import data.sulku.lib.actor
import data.sulku.lib.paper

cleared contains "own-account" if input.subject.kind == "service"

cleared contains "own-account" if {
	another(input.command.subject, actor.self.subject)
	another(input.command.email, actor.self.email)
}

another(given, own) if {
	given == ""
	is_string(own)
}

another(given, own) if {
	is_string(given)
	is_string(own)
	lower(given) != lower(own)
}

cleared contains "own-roles" if paper.another(input.target.id)

cleared contains "own-sign-in" if paper.another(input.target.id)

cleared contains "not-yours" if actor.scope == "all"

cleared contains "not-yours" if input.target.id == input.subject.id

cleared contains "delegate-unfit" if input.command.delegate == ""

cleared contains "delegate-unfit" if {
	delegate := input.about.delegate
	delegate.id == input.command.delegate
	delegate.id != input.subject.id
	delegate.state == "active"
	input.subject.role in delegate.roles
}
