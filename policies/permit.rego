# Permits: their people and those who watch see them; stewards who are not on them stop and resume them.
package sulku.permit

import data.sulku.lib.actor
import data.sulku.lib.paper

cleared contains "on-permit" if paper.spares(input.target.document.people)

cleared contains "not-yours" if actor.scope == "all"

cleared contains "not-yours" if input.subject.id in input.target.document.people
