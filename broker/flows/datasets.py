"""What stewards do with the catalogue, and what everybody may read of it."""

from __future__ import annotations

from broker.flows.act import Intent, act
from broker.flows.see import about_self, see, show
from sulku import datasets, ids
from sulku.datasets import Dataset
from sulku.people import Actor
from sulku.ports import Ports, Receipt


def catalogue(ports: Ports, by: Actor, command: datasets.Catalogue, key: str | None = None, *, dataset: str | None = None) -> Receipt:
    """Enter a dataset into the catalogue; ``dataset`` is the identifier under which its files were taken in.

    Raises:
        InvalidInputError: It could not be read back; ``fields`` names each problem, and nothing is written.
        DeniedError: Only stewards may.
    """
    return _do(ports, by, ids.parse(dataset, "dst") if dataset else ids.new("dst"), command, key)


def revise(ports: Ports, by: Actor, dataset: str, edition: datasets.Edition) -> Receipt:
    """Add a version; permits keep the version that they name."""
    return _do(ports, by, ids.parse(dataset, "dst"), datasets.Revise(edition))


def withdraw(ports: Ports, by: Actor, dataset: str, reason: str) -> Receipt:
    """Take a dataset out of the catalogue: no new tunnel mounts it."""
    return _do(ports, by, ids.parse(dataset, "dst"), datasets.Withdraw(reason))


def _do(ports: Ports, by: Actor, target: str, command: datasets.Command, key: str | None = None) -> Receipt:
    datasets.require_sound(command)  # before policy is asked about what may have no plain form
    intent = Intent(by, command.ACTION, target, command, about_self(by), key)
    return act(ports, intent, lambda facts, _, at: datasets.decide(facts[target], command, at))


def listing(ports: Ports, by: Actor) -> list[Dataset]:
    """Return the catalogue, by name."""
    see(ports, Intent(by, "dataset.list", ids.LEDGER, {}, about_self(by)))
    return sorted(ports.store.find("dst"), key=lambda dataset: dataset.name)


def view(ports: Ports, by: Actor, dataset: str) -> Dataset:
    """Return one dataset's entry.

    Raises:
        NotFoundError: There is none.
    """
    return show(ports, by, "dataset.view", ids.parse(dataset, "dst"))  # type: ignore[no-any-return]
