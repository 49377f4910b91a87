"""Refusals of nobody whom we know, folded: the ledger says that they happened and how often, and nobody can flood it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sulku import ids
from sulku.clearance import Authority, Query, Refusal
from sulku.codec import Plain
from sulku.errors import DeniedError, PolicyUnavailableError, SulkuError
from sulku.events import Happened, Refused
from sulku.people import PUBLIC, SIGN_IN
from sulku.ports import Effect, Facts, Policy, Receipt, Store, Unit

WINDOW: Final = timedelta(seconds=60)
MOST_KINDS: Final = 100  # kinds of refusal kept apart in one window; the rest count as the first of them


@dataclass(slots=True)
class _Fold:
    """The first refusal of a kind in this window, and how many like it there were."""

    refusal: Refusal
    count: int = 1


class FoldingStore:
    """A store that writes refusals of people whom we do not know once a minute and kind, with their count; all else it passes on.

    Those are the public's, and those of a sign-in that is nobody's here: whoever asked is then not in the directory.
    """

    def __init__(self, store: Store) -> None:
        """Wrap ``store``."""
        self._store = store
        self._folds: dict[tuple[str, tuple[str, ...], str], _Fold] = {}
        self._since: datetime | None = None
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        """Pass on what is more than the port."""
        return getattr(self._store, name)

    def peek(self, identifiers: Iterable[str]) -> dict[str, Any]:
        """Pass on."""
        return self._store.peek(identifiers)

    def find(self, noun: str, **where: Plain) -> list[Any]:
        """Pass on."""
        return self._store.find(noun, **where)

    def repeated(self, key: str, digest: str) -> Receipt | None:
        """Pass on."""
        return self._store.repeated(key, digest)

    def latest_checkpoint(self) -> str:
        """Pass on."""
        return self._store.latest_checkpoint()

    def end_session(self, session: str, until: datetime, at: datetime) -> None:
        """Pass on."""
        self._store.end_session(session, until, at)

    def session_ended(self, session: str) -> bool:
        """Pass on."""
        return self._store.session_ended(session)

    def begin(self, authority: Authority, *, at: datetime, key: str | None = None) -> AbstractContextManager[Unit]:
        """Open a transaction, or only count if ``authority`` is the refusal of somebody whom we do not know."""
        if isinstance(authority, Refusal) and authority.by.id in {PUBLIC.id, SIGN_IN.id}:
            return self._counting(authority, at)
        return self._store.begin(authority, at=at, key=key)

    @contextmanager
    def _counting(self, refusal: Refusal, at: datetime) -> Iterator[Unit]:
        yield _Nothing()
        self.count(refusal, at)

    def count(self, refusal: Refusal, at: datetime) -> None:
        """Count one refusal; what the window before held is written first."""
        self.flush(at)
        with self._lock:
            self._since = self._since or at
            about = refusal.target if refusal.by.id == SIGN_IN.id else ""  # whose sign-in was tried is worth an entry of its own
            kind = (refusal.action, refusal.codes, about)
            if kind not in self._folds and len(self._folds) >= MOST_KINDS:
                kind = next(iter(self._folds))
            if kind in self._folds:
                self._folds[kind].count += 1
            else:
                self._folds[kind] = _Fold(refusal)

    def again(self, action: str) -> bool:
        """Count one more refusal of ``action`` if there is one in this window; say whether there was."""
        with self._lock:
            fold = next((fold for kind, fold in self._folds.items() if kind[0] == action), None)
            if fold is not None:
                fold.count += 1
            return fold is not None

    def flush(self, at: datetime, *, now: bool = False) -> None:
        """Write what was counted, if the window is over (or ``now``); what cannot be written stays counted."""
        with self._lock:
            if self._since is None or (not now and at - self._since < WINDOW):
                return
            folds, self._folds, self._since = self._folds, {}, None
        for kind, fold in folds.items():
            try:
                self._write(fold, at)
            except SulkuError:
                with self._lock:
                    self._since = self._since or at
                    kept = self._folds.setdefault(kind, _Fold(fold.refusal, 0))
                    kept.count += fold.count

    def _write(self, fold: _Fold, at: datetime) -> None:
        refusal = fold.refusal
        with self._store.begin(refusal, at=at) as unit:
            unit.record([Happened(refusal.target, Refused(refusal.action, refusal.codes, refusal.detail, fold.count))])


class _Nothing:
    """A transaction in which a refusal is only counted."""

    def lock(self, identifiers: Iterable[str]) -> Facts:
        """Return nothing."""
        del identifiers
        return {}

    def record(
        self, happened: Sequence[Happened], effects: Callable[[Sequence[Happened], Facts], Sequence[Effect]] | None = None
    ) -> Receipt:
        """Record nothing."""
        del happened, effects
        return Receipt({}, ())

    def spend_ticket(self, digest: str, nonce: str, at: datetime) -> Plain:
        """Spend nothing; a refusal carries no right to."""
        del digest, nonce, at
        raise DeniedError("tunnel.entered", ["refusal-carries-nothing"])

    def note_reports(self, tunnel: str, run: str, number: int) -> int:
        """Note nothing; a refusal carries no right to."""
        del tunnel, run, number
        raise DeniedError("tunnel.report", ["refusal-carries-nothing"])


def anonymous(store: FoldingStore, policy: Policy, action: str, at: datetime) -> None:
    """Count that nobody in particular asked for what needs a sign-in; once a window, policy is asked for the proof of refusal."""
    store.flush(at)
    if store.again(action):
        return
    target = {"id": ids.LEDGER, "version": 0}
    query = Query(by=PUBLIC, action=action, target=ids.LEDGER, command={}, facts={ids.LEDGER: target}, about={}, at=at)
    try:
        policy.ask(query)
    except (DeniedError, PolicyUnavailableError) as error:
        if error.refusal is not None:
            store.count(error.refusal, at)
