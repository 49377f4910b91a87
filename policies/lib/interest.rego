# Conflicts of interest that can be derived: the same person, organisation or research group.
package sulku.lib.interest

import data.sulku.lib.actor

# True when two lists of text have nothing in common; what is no list of text shares everything.
disjoint(one, other) if {
	texts(one)
	texts(other)
	count({item | some item in one} & {item | some item in other}) == 0
}

texts(list) if {
	is_array(list)
	every item in list {
		is_string(item)
	}
}

# True when whoever asks works elsewhere, by the directory and by their sign-in; an empty name is nobody's elsewhere.
elsewhere(organisation) if {
	is_string(organisation)
	is_string(actor.self.organisation)
	is_string(input.subject.organisation)
	organisation != ""
	actor.self.organisation != ""
	lower(actor.self.organisation) != lower(organisation)
	lower(input.subject.organisation) != lower(organisation)
}

# True when whoever asks shares no research group with `person`.
apart(person) if {
	disjoint(actor.self.groups, person.groups)
	disjoint(input.subject.groups, person.groups)
}

# True when `people` (ids) are all among the records given as `person`, and each is in another organisation.
all_elsewhere(people) if {
	every identifier in people {
		some person in input.about.person
		person.id == identifier
		elsewhere(person.organisation)
	}
}

# True when `people` (ids) are all among the records given as `person`, and whoever asks shares no group with any.
all_apart(people) if {
	every identifier in people {
		some person in input.about.person
		person.id == identifier
		apart(person)
	}
}
