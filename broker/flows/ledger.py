"""What auditors do: search, export, verify, replay, and ask who could read a dataset. Each look is itself recorded."""

from __future__ import annotations

from broker.flows.act import Intent, command
from broker.flows.see import about_self, see
from sulku import ids
from sulku.codec import Plain
from sulku.ledger import checkpoint, tree
from sulku.people import Actor
from sulku.ports import Ports
from sulku.records import Access, Found, Opened, Proof, Replay, Search, Verified


def search(ports: Ports, by: Actor, wanted: Search, *, before: int | None = None, most: int = 50) -> Found:
    """Return a page of the ledger, newest first; that it was looked at is the entry after it.

    Raises:
        DeniedError: Only auditors may.
    """
    _look(ports, by, "ledger.search", {"most": most, "person": wanted.person, "record": wanted.record, "type": wanted.type})
    return ports.archive.search(wanted, before=before, most=most)


def export(ports: Ports, by: Actor, *, private: bool = False) -> bytes:
    """Return the auditor's bundle (a zip file): everything up to now, provable without us.

    Args:
        private: Also the texts behind the commitments, and what policy was asked; handle it as personal data.

    Raises:
        DeniedError: Only auditors may.
        LedgerBrokenError: The entries are not those that the checkpoint signed.
    """
    _look(ports, by, "ledger.export", {"private": private})
    return ports.archive.export(private=private)


def replay(ports: Ports, by: Actor, decision: str) -> Replay:
    """Ask policy again exactly what it was asked then, under the rules of then, and compare the answers bit for bit.

    Raises:
        NotFoundError: There is no such decision.
    """
    _look(ports, by, "ledger.replay", {"decision": ids.parse(decision, "dec")})
    return ports.archive.replay(decision)


def verify(ports: Ports, by: Actor) -> tuple[Verified, ...]:
    """Recompute the tree and every projection, and return each check with what it covered.

    Raises:
        LedgerBrokenError: A record is not what was recorded; the message names it.
    """
    _look(ports, by, "ledger.verify", {})
    return ports.archive.verify()


def prove(ports: Ports, by: Actor, index: int) -> Proof:
    """Return what shows anybody that entry ``index`` is in the ledger that the latest checkpoint signed."""
    _look(ports, by, "ledger.search", {"index": index})
    return ports.archive.prove(index)


def entry(ports: Ports, by: Actor, index: int, *, texts: bool = False) -> tuple[Proof, Opened]:
    """Return entry ``index`` with its proof, and what stands beside it; the ``texts`` themselves only on demand, which is recorded as such.

    Raises:
        DeniedError: Only auditors may.
        NotFoundError: There is no such entry.
        ProofError: The tree does not hold it.
    """
    _look(ports, by, "ledger.open" if texts else "ledger.search", {"index": index})
    proof = ports.archive.prove(index)
    root = checkpoint.parse(proof.checkpoint).checkpoint.root
    tree.verify_inclusion(tree.hash_leaf(proof.entry), index, proof.size, root, proof.hashes)
    return proof, ports.archive.opened(index, texts=texts)


def access_list(ports: Ports, by: Actor, dataset: str) -> list[Access]:
    """Return who could read which version of a dataset and when, newest first."""
    _look(ports, by, "ledger.search", {"access": ids.parse(dataset, "dst")})
    return ports.archive.access(dataset)


def consistent(ports: Ports, by: Actor, since: bytes) -> tuple[int, int]:
    """Check that the ledger of now begins with the one that checkpoint ``since`` signed; return both sizes.

    Raises:
        IntegrityError: It does not: history was rewritten.
    """
    _look(ports, by, "ledger.verify", {"since": True})
    return ports.archive.consistent(since)


def head(ports: Ports) -> dict[str, Plain]:
    """Return the ledger's size, root (hex) and latest signed checkpoint; public."""
    size, root = ports.archive.head()
    return {"size": size, "root": root.hex(), "checkpoint": ports.store.latest_checkpoint()}


def _look(ports: Ports, by: Actor, action: str, what: dict[str, Plain]) -> None:
    see(ports, Intent(by, action, ids.LEDGER, command("look", **what), about_self(by)))
