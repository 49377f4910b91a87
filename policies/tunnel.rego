# Tunnels: one person of a live permit opens and enters their own; services report on it; stewards watch and close.
package sulku.tunnel

import data.sulku.lib.actor
import data.sulku.lib.moment
import data.sulku.lib.paper

cleared contains "not-yours" if actor.scope == "all"

cleared contains "not-yours" if input.target.person == input.subject.id

cleared contains "wrong-permit" if {
	input.action == "tunnel.open"
	input.about.permit.id == input.command.permit
}

cleared contains "wrong-permit" if {
	input.action == "tunnel.top-up"
	input.about.permit.id == input.target.permit
}

cleared contains "not-on-permit" if paper.names_subject

cleared contains "on-permit" if paper.spares_subject

cleared contains "permit-not-live" if paper.live

cleared contains "permit-changed" if paper.same(input.target)

cleared contains "dataset-not-listed" if paper.datasets_listed

cleared contains "sign-in-stale" if paper.sign_in_fresh

cleared contains "mfa-required" if paper.factors_enough

cleared contains "minutes" if {
	is_number(input.command.minutes)
	is_number(paper.paper.limits.minutes)
	input.command.minutes >= 1
	input.command.minutes <= paper.paper.limits.minutes
}

cleared contains "beyond-permit" if {
	now := moment.ns(input.context.now)
	now + (input.command.minutes * 60000000000) <= moment.ns(paper.paper.ends)
}

cleared contains "tunnel-not-open" if {
	input.target.state == "open"
	moment.before(input.context.now, input.target.deadline)
}

cleared contains "too-much" if {
	is_number(input.command.bytes)
	input.command.bytes > 0
	every profile in paper.profiles {
		input.command.bytes <= profile.top_up_bytes
	}
}
