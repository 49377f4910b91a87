# The permit at hand: whether it holds now, whose it is, and the thresholds that are in force under it.
package sulku.lib.paper

import data.sulku.lib.moment

paper := input.about.permit.document

live if {
	input.about.permit.state == "active"
	moment.ns(paper.starts) <= moment.ns(input.context.now)
	moment.before(input.context.now, paper.ends)
}

names_subject if input.subject.id in paper.people

spares_subject if spares(paper.people)

# True when the person who asks is none of `people`.
spares(people) if {
	is_array(people)
	every person in people {
		another(person)
	}
}

# True when `person` (an id) is somebody else.
another(person) if {
	is_string(person)
	person != input.subject.id
}

# The permit is the very one under which `tunnel` was opened, unchanged since.
same(tunnel) if {
	input.about.permit.id == tunnel.permit
	input.about.permit.version == tunnel.permit_version
}

# The permit's own profile and the one of this installation; both must be met.
profiles := [
	data.thresholds.profiles[data.thresholds.active],
	data.thresholds.profiles[paper.profile],
]

sign_in_fresh if {
	every profile in profiles {
		moment.within_hours(input.subject.signed_in, profile.sign_in_hours)
	}
}

factors_enough if input.subject.mfa == true

factors_enough if {
	every profile in profiles {
		profile.mfa == false
	}
}

# Every dataset that the permit grants is in the catalogue.
datasets_listed if {
	every grant in paper.grants {
		listed(grant.dataset)
	}
}

listed(identifier) if {
	some dataset in input.about.dataset
	dataset.id == identifier
	dataset.state == "listed"
}
