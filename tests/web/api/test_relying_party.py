"""The relying party against issuers that lie: what it does not take, and (liveness) that the honest answer is taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from joserfc.jwk import OctKey

from broker.adapters.oidc import ALGORITHMS, Pending, RelyingParty, several_factors
from sulku.errors import BadTokenError, IssuerUnavailableError, SignInFailedError
from tests.web.forger import Forger, forging, key
from tests.web.rig import HandClock, query_of

BACK = "http://broker.example/signed-in"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Forger]:
    with forging() as made:
        yield made


@pytest.fixture
def forger(issuer: Forger) -> Forger:
    fresh = Forger(issuer.address)
    issuer.__dict__.update(fresh.__dict__)
    return issuer


@pytest.fixture
def relying(forger: Forger) -> Iterator[RelyingParty]:
    made = RelyingParty(forger.address, "sulku-web", audience="sulku", clock=HandClock())
    yield made
    made.close()


def now(relying: RelyingParty) -> int:
    return int(relying._clock.now().timestamp())


def arrive(relying: RelyingParty, forger: Forger, claims: dict[str, Any], **changed: str) -> Any:
    _, pending = relying.leave(BACK)
    nonce = changed.pop("nonce", pending.nonce)
    forger.answer = {"id_token": forger.sign({**forger.claims(now(relying), aud="sulku-web", nonce=nonce), **claims})}
    return relying.arrive(pending, {"code": "c", "state": pending.state, **changed}, BACK)


def test_an_honest_answer_signs_in(relying: RelyingParty, forger: Forger) -> None:
    found = arrive(relying, forger, {"name": "Aino"})
    assert (found.subject, found.email, found.mfa) == (f"{forger.address}|1", "aino@example.org", True)
    assert found.at is not None


def test_leaving_asks_for_a_code_with_pkce_and_a_recent_proof(relying: RelyingParty) -> None:
    address, pending = relying.leave(BACK)
    asked = query_of(address)
    assert asked["code_challenge_method"] == "S256"
    assert asked["code_challenge"] != pending.verifier
    assert (asked["state"], asked["nonce"]) == (pending.state, pending.nonce)
    assert int(asked["max_age"]) == 12 * 3600


def test_the_verifier_goes_to_the_token_endpoint_and_nowhere_else(relying: RelyingParty, forger: Forger) -> None:
    arrive(relying, forger, {})
    assert len(forger.asked[0]["code_verifier"]) == 43


@pytest.mark.parametrize(
    ("claims", "changed"),
    [
        ({}, {"state": "another"}),
        ({}, {"nonce": "another"}),
        ({}, {"iss": "http://elsewhere.example"}),
        ({"iss": "http://elsewhere.example"}, {}),
        ({"aud": "someone-else"}, {}),
        ({"aud": ["sulku-web", "someone-else"]}, {}),
        ({"aud": ["sulku-web", "someone-else"], "azp": "someone-else"}, {}),
        ({"exp": 1}, {}),
        ({"exp": None}, {}),
        ({"sub": None}, {}),
        ({"auth_time": None}, {}),
        ({"auth_time": "today"}, {}),
        ({"nbf": 2**33}, {}),
    ],
)
def test_an_answer_with_one_thing_wrong_is_refused(
    relying: RelyingParty, forger: Forger, claims: dict[str, Any], changed: dict[str, str]
) -> None:
    with pytest.raises(SignInFailedError):
        arrive(relying, forger, claims, **changed)


def test_several_audiences_are_taken_if_we_are_who_asked(relying: RelyingParty, forger: Forger) -> None:
    assert arrive(relying, forger, {"aud": ["sulku-web", "someone-else"], "azp": "sulku-web"}).subject


def test_an_answer_without_a_code_is_the_issuers_refusal(relying: RelyingParty) -> None:
    pending = Pending("s", "n", "v")
    with pytest.raises(SignInFailedError, match="access_denied"):
        relying.arrive(pending, {"state": "s", "error": "access_denied"}, BACK)


def test_an_address_that_the_issuer_has_not_verified_is_no_address(relying: RelyingParty, forger: Forger) -> None:
    assert arrive(relying, forger, {"email_verified": False}).email == ""
    assert arrive(relying, forger, {"email_verified": "true"}).email == ""


def test_an_access_token_for_us_is_taken(relying: RelyingParty, forger: Forger) -> None:
    assert relying.bearer(forger.sign(forger.claims(now(relying)))).email == "aino@example.org"


def test_an_id_token_is_no_access_token(relying: RelyingParty, forger: Forger) -> None:
    with pytest.raises(BadTokenError):
        relying.bearer(forger.sign(forger.claims(now(relying), aud="sulku-web")))


def test_a_token_of_another_key_is_refused_even_under_a_known_name(relying: RelyingParty, forger: Forger) -> None:
    honest = forger.keys[0]
    with pytest.raises(BadTokenError):
        relying.bearer(forger.sign(forger.claims(now(relying)), key(), kid=honest.kid))


def test_a_symmetric_signature_is_refused(relying: RelyingParty, forger: Forger) -> None:
    shared = OctKey.generate_key(256)
    shared.ensure_kid()
    with pytest.raises(BadTokenError):
        relying.bearer(forger.sign(forger.claims(now(relying)), shared, alg="HS256", kid=forger.keys[0].kid))
    assert not any(name.startswith("HS") or name == "none" for name in ALGORITHMS)


def test_no_signature_at_all_is_refused(relying: RelyingParty, forger: Forger) -> None:
    head, body, _ = forger.sign(forger.claims(now(relying))).split(".")
    for token in (f"{head}.{body}.", "eyJhbGciOiJub25lIn0." + body + ".", "", "x", "a.b.c", "é" * 20_000):
        with pytest.raises(BadTokenError):
            relying.bearer(token)


def test_an_expired_token_is_refused_a_minute_late_at_most(relying: RelyingParty, forger: Forger) -> None:
    at = now(relying)
    assert relying.bearer(forger.sign(forger.claims(at, exp=at - 30)))
    with pytest.raises(BadTokenError):
        relying.bearer(forger.sign(forger.claims(at, exp=at - 90)))


def test_a_new_key_of_the_issuer_is_fetched_when_it_first_shows(
    relying: RelyingParty, forger: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.adapters.oidc._KEYS_EVERY", 0.0)
    relying.bearer(forger.sign(forger.claims(now(relying))))
    forger.keys.insert(0, key())
    assert relying.bearer(forger.sign(forger.claims(now(relying))))
    assert forger.key_reads == 2


def test_made_up_key_names_do_not_make_us_ask_again_and_again(relying: RelyingParty, forger: Forger) -> None:
    relying.bearer(forger.sign(forger.claims(now(relying))))
    for _ in range(5):
        with pytest.raises(BadTokenError):
            relying.bearer(forger.sign(forger.claims(now(relying)), key()))
    assert forger.key_reads == 1


def test_a_retired_key_is_not_believed_once_it_is_gone(relying: RelyingParty, forger: Forger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.adapters.oidc._KEYS_EVERY", 0.0)
    old = forger.keys[0]
    forger.keys[:] = [key()]
    with pytest.raises(BadTokenError):
        relying.bearer(forger.sign(forger.claims(now(relying)), old))


def test_what_a_token_leaves_out_is_asked_of_the_issuer(relying: RelyingParty, forger: Forger) -> None:
    forger.user_info = {"sub": "1", "email": "aino@example.org", "email_verified": True}
    token = forger.sign(forger.claims(now(relying), email=None, email_verified=None))
    assert relying.bearer(token).email == "aino@example.org"


def test_user_info_of_somebody_else_is_not_taken(relying: RelyingParty, forger: Forger) -> None:
    forger.user_info = {"sub": "2", "email": "risto@example.org", "email_verified": True}
    assert relying.bearer(forger.sign(forger.claims(now(relying), email=None, email_verified=None))).email == ""


def test_an_issuer_that_publishes_itself_as_another_is_not_used(relying: RelyingParty, forger: Forger) -> None:
    forger.published = {"issuer": "http://elsewhere.example"}
    with pytest.raises(IssuerUnavailableError):
        relying.leave(BACK)


def test_an_issuer_that_is_away_is_a_fault_and_not_a_refusal() -> None:
    relying = RelyingParty("http://127.0.0.1:1", "sulku-web", audience="sulku", clock=HandClock())
    with pytest.raises(IssuerUnavailableError):
        relying.leave(BACK)
    assert relying.sign_out_url("/") == "/"
    relying.close()


@pytest.mark.parametrize(
    ("amr", "several"),
    [
        (["mfa"], True),
        (["pwd", "otp"], True),
        (["pwd"], False),
        (["pwd", "pin"], False),
        (["otp", "sms"], False),
        (["face", "hwk"], True),
        ([], False),
        (None, False),
        ("mfa", False),
    ],
)
def test_factors_are_of_different_kinds(amr: object, several: bool) -> None:
    assert several_factors(amr) is several
