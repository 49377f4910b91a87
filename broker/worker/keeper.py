"""The worker's rounds on a cluster: what ended by itself is recorded, what is left over removed, every probe tries again, and the guards are looked at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import structlog

from broker.adapters.kubernetes import Cluster
from broker.flows import guards as alarms
from broker.flows import tunnels
from broker.worker.handlers import Neighbours, each, end_workspace
from sulku import guards
from sulku.errors import SandboxError, SulkuError, TunnelEndedError, WorkspaceUnavailableError
from sulku.plan import EndRecord
from sulku.ports import Ports
from sulku.tunnels import Cause, State, Tunnel

AT_ONCE: Final = 64  # probes that are asked side by side, if so many are due: a round takes most of a second, nearly all of it waiting
SILENT: Final = 3  # rounds in a row that the probe itself did not answer; then a tunnel is as good as open
BLIND: Final = 20  # rounds in a row that could not be had for whatever reason: no gateway, no canary, no API server
STUCK: Final = 600.0  # seconds that no round takes, since each of its steps has a bound of its own
GLANCE: Final = 2.0  # seconds between two looks at what ended by itself
REPAIR: Final = 30.0  # seconds between two searches for what nobody owns
TIDY: Final = 3600.0  # seconds between two removals of what is in the ledger and need not be remembered
LOOK: Final = 30.0  # seconds between two looks at the guards

log = structlog.get_logger(__name__)


class Keeper:
    """Called every second beside the sweep; what it finds it records before it acts."""

    def __init__(
        self,
        ports: Ports,
        world: Neighbours,
        cluster: Cluster,
        forget: Callable[[str], None],
        *,
        every: float,
        look: Callable[[], guards.Look] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep what is needed; nothing happens yet.

        Args:
            forget: Drops where a workspace was.
            every: Seconds between two rounds of one tunnel's probe.
            look: Looks at the guards; ``None`` if nobody is to watch them.
            monotonic: A clock of seconds.
        """
        self._ports, self._world, self._cluster, self._forget = ports, world, cluster, forget
        self._every, self._guards, self._monotonic = every, look, monotonic
        self._pool = ThreadPoolExecutor(AT_ONCE, "patrol")
        self._lock = threading.Lock()
        self._due: dict[str, float] = {}
        self._missed: dict[str, tuple[int, int]] = {}  # tunnel → rounds in a row: without the probe, without a verdict
        self._running: dict[str, tuple[Future[None], float]] = {}  # tunnel → its round, and when it began, or came to wait for its turn
        self._glanced = self._repaired = self._looked = self._tidied = -TIDY
        self._seen: guards.Look | None = None
        self._told: tuple[guards.Departure, ...] = ()

    def stop(self) -> None:
        """Begin no more rounds and wait for those that run."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def stuck(self) -> bool:
        """Whether a round of a probe has not ended in all the time that its steps may take together."""
        with self._lock:
            return any(done.running() and self._monotonic() - since >= STUCK for done, since in self._running.values())

    def tick(self, live: Sequence[Tunnel]) -> None:
        """Do what is due; ``live`` are the tunnels that have not begun to end, read before anything else.

        Raises:
            ClusterUnavailableError: No API server answers; tunnels end by their other clocks.
            StoreUnavailableError: The database is away; nothing was forgotten.
        """
        now = self._monotonic()
        due = [self._patrol]
        if now - self._glanced >= GLANCE:
            self._glanced = now
            due.append(self._take_in)
        each(due, lambda do: do(live))
        if now - self._repaired >= REPAIR:
            self._repaired = now
            self._repair()
        if self._guards is not None and now - self._looked >= LOOK:
            self._looked = now
            self._watch(self._guards())
        if now - self._tidied >= TIDY:
            self._tidied = now
            self._cluster.forget()

    def _take_in(self, live: Iterable[Tunnel]) -> None:
        """Record what ended by itself, with one look at the whole cluster."""
        seen = self._cluster.overview()
        each(self._cluster.ended() if seen.stopped else seen.records, self._record)  # the first ends what has stopped
        for one in live:
            if one.state is not State.REQUESTED and one.id not in seen.tunnels and self._ports.store.peek([one.id])[one.id].state is one.state:
                tunnels.ended(self._ports, one.id, None)

    def _record(self, record: EndRecord) -> None:
        tunnels.ended(self._ports, record.tunnel, record)
        self._forget(record.tunnel)
        self._cluster.acknowledge(record.tunnel)

    def _repair(self) -> None:
        """End what has a namespace and no record that it lives."""
        for done in self._cluster.reconcile({one.id for one in tunnels.live(self._ports)}):
            log.warning("keeper.repaired", what=str(done))

    # --- patrol -----------------------------------------------------------------------------------------------------

    def _patrol(self, live: Iterable[Tunnel]) -> None:
        """Have the probe of each open tunnel try again when it is due; the rounds run beside."""
        now = self._monotonic()
        opened = {one.id: one for one in live if one.state is State.OPEN}
        with self._lock:
            self._running = {one: (done, since) for one, (done, since) in self._running.items() if not done.done()}
            self._due = {one: self._due.get(one, now + self._every) for one in opened}
            self._missed = {one: count for one, count in self._missed.items() if one in opened}
            for one in [one for one, due in self._due.items() if due <= now and one not in self._running]:
                self._due[one] = now + self._every
                self._running[one] = self._pool.submit(self._round, opened[one]), now

    def _round(self, tunnel: Tunnel) -> None:
        with self._lock:
            self._running[tunnel.id] = self._running[tunnel.id][0], self._monotonic()
        try:
            report = self._cluster.patrol(tunnel.id)
        except TunnelEndedError:  # its pod is gone, whoever took it
            tunnels.ended(self._ports, tunnel.id, self._cluster.stop(tunnel.id))
            self._forget(tunnel.id)
        except SulkuError as error:
            self._missing(tunnel, f"{error.code}: {error}", silent=isinstance(error, WorkspaceUnavailableError | SandboxError))
        except Exception as error:
            log.exception("keeper.patrol-failed", tunnel=tunnel.id)
            self._missing(tunnel, type(error).__name__, silent=False)
        else:
            problems = "; ".join(report.problems)
            if report.breached:
                self._end(tunnel, f"something got out of it: {problems}")
            elif not report.closed:
                self._missing(tunnel, problems, silent=False)
            else:
                with self._lock:
                    self._missed.pop(tunnel.id, None)

    def _missing(self, tunnel: Tunnel, why: str, *, silent: bool) -> None:
        """Count a round that could not be had, and end a tunnel of which nobody can tell any more that it is closed."""
        with self._lock:
            probe, blind = self._missed.get(tunnel.id, (0, 0))
            probe, blind = probe + 1 if silent else 0, blind + 1
            self._missed[tunnel.id] = probe, blind
        log.warning("keeper.round-missed", tunnel=tunnel.id, why=why[:500], silent=probe, blind=blind)
        if probe >= SILENT or blind >= BLIND:
            self._end(tunnel, f"it could not be shown to be closed any more: {why}")

    def _end(self, tunnel: Tunnel, why: str) -> None:
        log.critical("keeper.not-closed", tunnel=tunnel.id, why=why[:2000])
        tunnels.finish(self._ports, tunnel.id, Cause.NOT_CLOSED, tunnels.WORKER, why[:900])
        end_workspace(self._ports, self._world, tunnel)

    # --- guards -----------------------------------------------------------------------------------------------------

    def _watch(self, seen: guards.Look) -> None:
        """Record every departure of the guards, once for as long as it is the same."""
        touched = guards.touched(self._seen, seen) if self._seen is not None else ()
        found = tuple(sorted(seen.departures, key=lambda one: (one.kind, one.name)))
        fresh = tuple(one for one in found if one not in self._told)
        if fresh or touched:
            log.critical("keeper.guards-departed", guards=[f"{one.kind} {one.name} {one.how}" for one in (*fresh, *touched)])
            alarms.departed(self._ports, (*fresh, *touched))
        self._seen, self._told = seen, found
