"""A look at the cluster's guards: are they there, and are they what was installed? It changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import yaml
from kubernetes.client.exceptions import ApiException

from broker.adapters.kubernetes_api import Api
from sulku import guards
from sulku.errors import ConfigurationError
from sulku.manifests import Manifest

_PLURALS: Final = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "RuntimeClass": "runtimeclasses",
}


def installed(folder: Path) -> tuple[Manifest, ...]:
    """Return the guards that the chart made, from the folder where its config map ``guards`` is mounted.

    Raises:
        ConfigurationError: No guard is written there: without one nothing could be noticed.
    """
    documents = [one for path in sorted(folder.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    if found := guards.watched(one for one in documents if one):
        return found
    raise ConfigurationError(f"{folder} holds none of the guards that the chart installs")


def look(api: Api, expected: Iterable[Manifest]) -> guards.Look:
    """Return how each of the ``expected`` guards is found now.

    Raises:
        ClusterUnavailableError: No API server answers, so that nothing is known.
    """
    departures, marks = [], {}
    for guard in guards.watched(expected):
        key = guard["kind"], guard["metadata"]["name"]
        try:
            found = api.call("GET", f"/apis/{guard['apiVersion']}/{_PLURALS[guard['kind']]}/{guard['metadata']['name']}")
            marks[key] = guards.mark(found)
            departure = guards.compare(guard, found)
        except ApiException as error:
            why = (f"{error.status} {error.reason}",)
            departure = guards.compare(guard, None) if error.status == 404 else guards.Departure(*key, "unreadable", why)
        departures += [departure] if departure else []
    return guards.Look(tuple(departures), marks)
