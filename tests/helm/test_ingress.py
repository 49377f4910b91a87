"""The Ingress in the chart: off unless asked for, one for each of the three names, and never half of it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from sulku.manifests import Manifest
from tests.helm.test_chart import of, refused, rendered

SECURE: Final[dict[str, Any]] = {
    "url": "https://tre.example.org", "previewUrl": "https://preview.example.org:8443/", "gateDomain": "tunnels.example.org:8443",
    "ingress": {
        "enabled": True, "className": "front", "annotations": {"front.example/timeout": "3h"},
        "tls": {"pages": "tls-pages", "previews": "tls-previews", "tunnels": "tls-tunnels"},
    },
}  # fmt: skip


def ways(found: list[Manifest]) -> dict[str, tuple[str, str]]:
    """Return host → (service, secret), for every path below it."""
    seen = {}
    for one in of("Ingress", found).values():
        [rule] = one["spec"]["rules"]
        [path] = rule["http"]["paths"]
        assert (path["path"], path["pathType"]) == ("/", "Prefix")
        backend = path["backend"]["service"]
        service = of("Service", found)[backend["name"]]
        assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
        secret = ""
        for tls in one["spec"].get("tls", []):
            assert tls["hosts"] == [rule["host"]]
            secret = tls["secretName"]
        seen[rule["host"]] = (backend["name"], secret)
    return seen


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert of("Ingress", rendered()) == {}


def test_each_name_leads_to_its_part_under_its_certificate() -> None:
    found = rendered(SECURE)
    assert ways(found) == {
        "tre.example.org": ("broker", "tls-pages"),
        "preview.example.org": ("broker", "tls-previews"),
        "*.tunnels.example.org": ("gateway", "tls-tunnels"),
    }
    for one in of("Ingress", found).values():
        assert one["spec"]["ingressClassName"] == "front"
        assert one["metadata"]["annotations"] == {"front.example/timeout": "3h"}


def test_a_trial_by_plain_http_has_no_certificates() -> None:
    found = rendered({"ingress": {"enabled": True}})
    assert ways(found) == {"broker.sulku.example": ("broker", ""), "preview.sulku.example": ("broker", ""), "*.sulku.example": ("gateway", "")}
    assert all("ingressClassName" not in one["spec"] for one in of("Ingress", found).values())


def test_without_our_parts_there_is_nothing_to_lead_to() -> None:
    assert of("Ingress", rendered({"images": {"server": ""}, "ingress": {"enabled": True}})) == {}


def over(**changes: Any) -> dict[str, Any]:
    return SECURE | {"ingress": SECURE["ingress"] | changes}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "two certificates of three": (over(tls={"pages": "a", "previews": "b"}), "secrets for pages, previews and tunnels, or none"),
    "https without a certificate": (over(tls={}), "people come by https, which ends in the Ingress"),
    "certificates for plain http": (SECURE | {"url": "http://tre.example.org"}, "url is plain http"),
    "filled in and off": (over(enabled=False), "ingress is filled in and off"),
    "a class and off": ({"ingress": {"className": "front"}}, "ingress is filled in and off"),
    "a certificate that is no name": (over(tls={"pages": "A b", "previews": "b", "tunnels": "c"}), "does not match pattern"),
    "a word that is spelt wrongly": (over(hosts=["x"]), "additional properties 'hosts' not allowed"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_half_filled_one_is_refused_with_a_sentence(what: str) -> None:
    given, sentence = REFUSED[what]
    assert sentence in refused(given)
