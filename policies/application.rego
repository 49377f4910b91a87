# Applications: their people write them, stewards without an interest in them judge.
package sulku.application

import data.sulku.lib.actor
import data.sulku.lib.interest
import data.sulku.lib.paper

named if input.subject.id in input.target.form.people

cleared contains "not-yours" if actor.scope == "all"

cleared contains "not-yours" if input.target.applicant == input.subject.id

# A listed person may edit and read, but only the applicant sends it or takes it back.
cleared contains "not-yours" if {
	input.action in {"application.draft", "application.view"}
	named
}

cleared contains "not-yours" if {
	input.action == "application.draft"
	input.target.version == 0
}

cleared contains "draft-private" if input.target.state in {"submitted", "returned", "approved", "refused", "withdrawn"}

cleared contains "draft-private" if input.target.applicant == input.subject.id

cleared contains "draft-private" if named

# A draft is judged by the answers that come with it; anything else, and the question what could be done, by those kept.
form := input.command.form if {
	input.action == "application.draft"
	input.command != {}
}

else := input.target.form if input.command == {}

else := input.target.form if input.action != "application.draft"

cleared contains "person-unknown" if {
	every identifier in form.people {
		some person in input.about.person
		person.id == identifier
		person.version > 0
		person.state == "active"
	}
}

cleared contains "dataset-not-listed" if {
	every wanted in form.datasets {
		paper.listed(wanted.dataset)
	}
}

cleared contains "own-application" if {
	paper.another(input.target.applicant)
	paper.spares(input.target.form.people)
}

cleared contains "same-organisation" if {
	interest.elsewhere(input.target.organisation)
	input.about.applicant.id == input.target.applicant
	interest.elsewhere(input.about.applicant.organisation)
	interest.all_elsewhere(input.target.form.people)
}

cleared contains "shared-group" if {
	input.about.applicant.id == input.target.applicant
	interest.apart(input.about.applicant)
	interest.all_apart(input.target.form.people)
}

cleared contains "dataset-controller" if {
	every wanted in input.target.form.datasets {
		some dataset in input.about.dataset
		dataset.id == wanted.dataset
		paper.spares(dataset.controllers)
	}
}

cleared contains "conflict-declared" if paper.spares(input.target.conflicts)
