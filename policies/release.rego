# Releases: submitted through the gateway, judged by two stewards without an interest, fetched by people of the permit.
package sulku.release

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

# An answer to a return stays with its permit and its author.
cleared contains "wrong-permit" if {
	input.action == "release.submit"
	input.target.version == 0
}

cleared contains "wrong-permit" if {
	input.action == "release.submit"
	input.about.permit.id == input.target.permit
	input.about.tunnel.person == input.target.author
}

cleared contains "wrong-permit" if {
	input.action == "release.fetch"
	input.about.permit.id == input.target.permit
}

cleared contains "output-elsewhere" if {
	count(input.command.outputs) > 0
	every identifier in input.command.outputs {
		some output in input.about.output
		output.id == identifier
		output.tunnel == input.about.tunnel.id
		output.permit == input.about.permit.id
	}
}

cleared contains "self-review" if {
	paper.another(input.target.author)
	paper.spares(input.target.people)
}

cleared contains "same-organisation" if {
	interest.elsewhere(input.target.organisation)
	input.about.author.id == input.target.author
	interest.elsewhere(input.about.author.organisation)
	interest.all_elsewhere(others)
}

cleared contains "shared-group" if {
	input.about.author.id == input.target.author
	interest.apart(input.about.author)
	interest.all_apart(others)
}

# The author comes as a record of their own.
others := [person | some person in input.target.people; person != input.target.author] if is_array(input.target.people)

cleared contains "not-on-permit" if paper.names_subject

cleared contains "permit-revoked" if input.about.permit.state in {"active", "suspended", "superseded", "expired"}

cleared contains "not-released" if input.target.state == "released"

cleared contains "not-yours" if actor.scope == "all"

cleared contains "not-yours" if input.target.author == input.subject.id

cleared contains "not-yours" if {
	input.action == "release.view"
	input.subject.id in input.target.people
}
