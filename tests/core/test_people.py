"""Whose sign-in is whose: the first binds, another is refused, and only an operator's release makes room for the next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest

from sulku.errors import RuleError
from sulku.events import from_plain, to_plain
from sulku.people import Bind, Command, Leave, Person, Register, Role, State, Unbind, decide, evolve, folded, may_sign_in

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)
OLD, NEW = "https://id.example|1", "https://id.example|2"
NOBODY = Person("usr_a000000000000000")


def after(person: Person, command: Command, at: datetime = AT) -> Person:
    return reduce(lambda now, one: evolve(now, one.event), decide(person, command, at), person)  # type: ignore[arg-type]


REGISTERED = after(NOBODY, Register("Ada", "ada@uni.example", "uni", (Role.RESEARCHER,)))
BOUND = after(REGISTERED, Bind(OLD, AT))
RELEASED = after(BOUND, Unbind("a new account"), AT + SECOND)


def refused(person: Person, command: Command, at: datetime = AT) -> str:
    with pytest.raises(RuleError) as caught:
        decide(person, command, at)
    assert caught.value.remedy()
    return caught.value.rule


def test_the_first_sign_in_is_bound() -> None:
    assert (REGISTERED.subject, BOUND.subject, BOUND.version) == ("", OLD, 2)


def test_another_sign_in_is_not_bound_over_it() -> None:
    assert refused(BOUND, Bind(NEW, AT)) == "bound-elsewhere"
    assert refused(after(NOBODY, Register("Ada", "a@b", "uni", (), subject=OLD)), Bind(NEW, AT)) == "bound-elsewhere"
    assert decide(BOUND, Bind(OLD, AT), AT) == ()


def test_a_release_makes_room_for_what_is_issued_after_it_and_for_nothing_before() -> None:
    assert (RELEASED.subject, RELEASED.unbound) == ("", AT + SECOND)
    for issued in (None, AT, AT + SECOND):
        assert refused(RELEASED, Bind(OLD, issued), AT + 2 * SECOND) == "sign-in-released"
    assert after(RELEASED, Bind(NEW, AT + 2 * SECOND), AT + 2 * SECOND).subject == NEW
    assert refused(RELEASED, Unbind("again")) == refused(REGISTERED, Unbind("why not")) == "not-bound"


def test_a_session_from_before_a_release_is_none_of_the_same_sign_in_bound_again() -> None:
    again = after(RELEASED, Bind(OLD, AT + 2 * SECOND), AT + 2 * SECOND)
    with pytest.raises(RuleError):
        may_sign_in(again, AT, AT + 3 * SECOND)
    may_sign_in(again, AT + 2 * SECOND, AT + 3 * SECOND)
    may_sign_in(BOUND, None, AT)  # nothing was ever released: an issuer that does not say when will do


def test_an_account_that_has_ended_binds_nothing() -> None:
    assert refused(replace(REGISTERED, expires=AT), Bind(OLD, AT)) == "account-ended"
    assert refused(after(BOUND, Leave("gone")), Bind(OLD, AT)) == "person-left"


def test_who_leaves_gives_their_sign_in_free() -> None:
    left = after(BOUND, Leave("gone"))
    assert (left.state, left.subject) == (State.LEFT, "")


def test_addresses_are_compared_without_case() -> None:
    assert folded("Äiti.Öhman@UNI.example") == "äiti.öhman@uni.example"


def test_a_registration_of_an_older_ledger_is_read_as_it_was_written() -> None:
    fields = {"name": "Ada", "email": "a@b", "organisation": "uni", "groups": [], "roles": ["researcher"], "subject": OLD, "expires": None}
    old, new = (from_plain("person.registered", schema, fields) for schema in (1, 2))
    assert sorted(new.PRIVATE - old.PRIVATE) == ["subject"]
    assert evolve(NOBODY, old) == evolve(NOBODY, new)
    assert evolve(NOBODY, old).subject == OLD
    (written,) = decide(NOBODY, Register("Ada", "a@b", "uni", (Role.RESEARCHER,)), AT)
    assert (written.event.SCHEMA, to_plain(written.event).keys()) == (2, fields.keys())
