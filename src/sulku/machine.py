"""Lifecycles as data: one table that the code obeys, the docs draw and the tests walk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from sulku.errors import IllegalMoveError

State = TypeVar("State", bound=StrEnum)
Move = TypeVar("Move", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Machine(Generic[State, Move]):
    """A finite lifecycle.

    Attributes:
        noun: What lives this life, for messages and diagrams.
        start: The state that every new record is born in.
        table: ``(state, move) -> next state``; an absent pair is illegal.
    """

    noun: str
    start: State
    table: Mapping[tuple[State, Move], State]

    def after(self, state: State, move: Move) -> State:
        """Return the state that ``move`` leads to.

        Raises:
            IllegalMoveError: ``move`` is not legal in ``state``.
        """
        try:
            return self.table[state, move]
        except KeyError:
            raise IllegalMoveError(noun=self.noun, state=state, move=move, legal=self.moves(state)) from None

    def moves(self, state: State) -> frozenset[Move]:
        """Return every move that is legal in ``state``; empty if it is final."""
        return frozenset(move for source, move in self.table if source is state)

    def mermaid(self) -> Iterator[str]:
        """Yield the diagram that the reference shows, line by line."""
        yield "stateDiagram-v2"
        yield f"    [*] --> {self.start}"
        for (source, move), target in self.table.items():
            yield f"    {source} --> {target}: {move}"
