# The one decision: an action is allowed when every reason that could stand against it is cleared.
# Rules only ever clear reasons, so what is missing, null or misspelt in the input leaves a reason standing.
package sulku

import data.sulku.application
import data.sulku.dataset
import data.sulku.ledger
import data.sulku.lib.actor
import data.sulku.mount
import data.sulku.output
import data.sulku.permit
import data.sulku.person
import data.sulku.release
import data.sulku.tunnel

default decision := {"allow": false, "reasons": ["undecided"], "obligations": {}}

decision := {"allow": true, "reasons": [], "obligations": obligations} if allowed

decision := {"allow": false, "reasons": sort(standing), "obligations": {}} if count(standing) > 0

# What a server answers with, so that each answer names the bundle that gave it.
sealed := {"decision": decision, "revision": data.sulku.revision.sha256}

entry := data.roles.actions[input.action]

known if is_array(entry.unless)

allowed if {
	known
	every reason in always {
		reason in actor.cleared
	}
	every reason in entry.unless {
		reason in cleared
	}
}

obligations := {"scope": actor.scope, "record": object.get(entry, "record", false)}

always := {"role-not-allowed", "role-not-held", "account-ended"}

# Whoever may not act at all learns nothing about the record.
standing contains "unknown-action" if not known

standing contains reason if {
	known
	some reason in (always - actor.cleared)
}

standing contains reason if {
	count(always - actor.cleared) == 0
	some reason in ({code | some code in entry.unless} - cleared)
}

noun := split(input.action, ".")[0]

cleared contains reason if {
	noun == "person"
	some reason in person.cleared
}

cleared contains reason if {
	noun == "dataset"
	some reason in dataset.cleared
}

cleared contains reason if {
	noun == "application"
	some reason in application.cleared
}

cleared contains reason if {
	noun == "permit"
	some reason in permit.cleared
}

cleared contains reason if {
	noun == "tunnel"
	some reason in tunnel.cleared
}

cleared contains reason if {
	noun == "mount"
	some reason in mount.cleared
}

cleared contains reason if {
	noun == "output"
	some reason in output.cleared
}

cleared contains reason if {
	noun == "release"
	some reason in release.cleared
}

cleared contains reason if {
	noun == "ledger"
	some reason in ledger.cleared
}
