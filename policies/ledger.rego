# The ledger: auditors read it, and each reading is itself recorded. Operators erase texts beside it, never those that name themselves.
package sulku.ledger

import data.sulku.lib.paper

cleared contains "own-traces" if {
	input.target.noun == "person"
	paper.another(input.target.id)
}

cleared contains "own-traces" if {
	input.target.noun == "application"
	paper.another(input.target.applicant)
	paper.spares(input.target.form.people)
}

cleared contains "own-traces" if {
	input.target.noun == "tunnel"
	paper.another(input.target.person)
}

cleared contains "own-traces" if {
	input.target.noun == "release"
	paper.another(input.target.author)
	paper.spares(input.target.people)
}
