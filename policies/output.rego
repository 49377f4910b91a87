# Outputs: the gateway freezes them out of an open tunnel; their people and stewards without an interest look at them.
package sulku.output

import data.sulku.lib.actor
import data.sulku.lib.interest
import data.sulku.lib.moment
import data.sulku.lib.paper

cleared contains "tunnel-not-open" if {
	input.about.tunnel.state == "open"
	moment.before(input.context.now, input.about.tunnel.deadline)
}

cleared contains "permit-not-live" if paper.live

cleared contains "permit-changed" if paper.same(input.about.tunnel)

cleared contains "wrong-permit" if input.about.permit.id == input.target.permit

cleared contains "not-on-permit" if actor.scope == "all"

cleared contains "not-on-permit" if paper.names_subject

# What follows stands against reviewers only.
cleared contains "self-review" if actor.scope == "own"

cleared contains "self-review" if {
	paper.another(input.target.person)
	paper.spares_subject
}

cleared contains "same-organisation" if actor.scope == "own"

cleared contains "same-organisation" if interest.elsewhere(paper.paper.organisation)
