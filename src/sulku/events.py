"""What happened: the base of every event, the registry of their types, and what of each stays out of the ledger.

An event is a frozen dataclass in its noun's file, named in the past tense. ``@event`` gives it its stable type, its
schema version and the fields that are *private*: free text and personal data, which the ledger holds only as salted
commitments so that a lawful erasure does not break the tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, TypeVar

from sulku.codec import Plain, plain, typed
from sulku.errors import InvalidInputError


class Event:
    """Base of all events.

    Attributes:
        TYPE: ``noun.past-tense``; stable, stored.
        SCHEMA: Version of the fields; raised whenever their meaning changes.
        PRIVATE: Names of fields that the ledger only commits to.
        ENDING: May be recorded under a ``Mandate``: it only takes away.
        STATELESS: Changes no record; it is in the ledger alone.
    """

    __slots__ = ()
    TYPE: ClassVar[str] = ""
    SCHEMA: ClassVar[int] = 1
    PRIVATE: ClassVar[frozenset[str]] = frozenset()
    ENDING: ClassVar[bool] = False
    STATELESS: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Happened:
    """One event and the record that it is about."""

    noun: str
    event: Event


REGISTRY: Final[dict[tuple[str, int], type[Event]]] = {}
E = TypeVar("E", bound=type[Event])


def event(
    kind: str, *, schema: int = 1, private: tuple[str, ...] = (), ending: bool = False, stateless: bool = False
) -> Callable[[E], E]:
    """Register an event class under its stable type ``kind``.

    Raises:
        InvalidInputError: The type and schema are taken.
    """

    def register(cls: E) -> E:
        if (kind, schema) in REGISTRY:
            raise InvalidInputError(f"two events are called {kind} v{schema}")
        cls.TYPE, cls.SCHEMA, cls.PRIVATE, cls.ENDING, cls.STATELESS = kind, schema, frozenset(private), ending, stateless
        REGISTRY[kind, schema] = cls
        return cls

    return register


def to_plain(happened: Event) -> dict[str, Plain]:
    """Return the event's fields as plain values."""
    return plain(happened)  # type: ignore[no-any-return]


def from_plain(kind: str, schema: int, fields: dict[str, Plain]) -> Event:
    """Return the event that ``to_plain`` printed.

    Raises:
        InvalidInputError: The type is unknown or the fields do not fit.
    """
    try:
        return typed(REGISTRY[kind, schema], fields)
    except KeyError:
        raise InvalidInputError(f"no event is called {kind} v{schema}") from None


@event("refusal.recorded", private=("detail",), stateless=True)
@dataclass(frozen=True, slots=True)
class Refused(Event):
    """Somebody tried something and was told no. ``count`` is above one where many alike were folded together."""

    action: str
    codes: tuple[str, ...]
    detail: str = ""
    count: int = 1


@event("record.seen", stateless=True)
@dataclass(frozen=True, slots=True)
class Seen(Event):
    """Somebody read something sensitive."""

    action: str
    what: str = ""


@event("record.erased")
@dataclass(frozen=True, slots=True)
class Erased(Event):
    """The texts about a record that the ledger only commits to were erased, and with them the decisions that showed them.

    Attributes:
        kinds: What was erased, sorted: an event's type and one of its fields, such as ``person.registered.email``.
        texts: How many texts, each with its salt.
        decisions: How many decisions; what policy was asked in them cannot be asked again.
        ground: On which legal ground; in the open and for ever, so it names nobody.
    """

    kinds: tuple[str, ...]
    texts: int
    decisions: int
    ground: str
