# Mounts: a dataset version enters a tunnel that is proved closed, if the permit grants exactly those bytes.
package sulku.mount

import data.sulku.lib.paper

cleared contains "closure-not-proved" if {
	input.about.tunnel.state == "proved"
	is_string(input.about.tunnel.closure)
	input.about.tunnel.closure != ""
}

cleared contains "permit-not-live" if paper.live

cleared contains "permit-changed" if paper.same(input.about.tunnel)

cleared contains "dataset-not-listed" if input.about.dataset.state == "listed"

cleared contains "not-granted" if {
	input.command in paper.paper.grants
	input.command.dataset == input.about.dataset.id
	some edition in input.about.dataset.editions
	edition.version == input.command.version
	edition.digest == input.command.digest
}
