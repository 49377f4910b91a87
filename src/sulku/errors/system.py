"""A part of the system that cannot answer, or something that must never change and has."""

from __future__ import annotations

from typing import Any

from sulku.errors.base import FaultError


class PolicyUnavailableError(FaultError):
    """The policy engine is down, slow or answers nonsense; no answer is a no."""

    code = "policy-unavailable"
    refusal: Any = None  # a sulku.clearance.Refusal, set by whoever asked policy
    fix = "Nothing was changed. Try again in a minute; operators have been told."


class StoreUnavailableError(FaultError):
    """The database is away or its disk is full; the change did not happen."""

    code = "store-unavailable"
    fix = "Nothing was changed. Try again in a minute; operators have been told."


class HubUnavailableError(FaultError):
    """JupyterHub is away or could not start a workspace."""

    code = "hub-unavailable"
    fix = "Open the tunnel again in a minute; operators have been told."


class GateUnavailableError(FaultError):
    """The gateway is away; its own clock and the record still close what is open."""

    code = "gate-unavailable"
    fix = "Enter again in a minute; operators have been told."


class ConfigurationError(FaultError):
    """A setting is missing, wrong or unsafe for this mode."""

    code = "configuration"
    fix = "Correct the named setting; `sulku-broker doctor` shows where each value comes from."


class PolicyUnsignedError(ConfigurationError):
    """A bundle of policies that nobody has signed, that was changed since, or that was signed with another key."""

    code = "policy-unsigned"
    fix = "Sign the policies with `sulku-broker policies bundle`, and name the public half of that very key."


class IntegrityError(FaultError):
    """Something that must never change has changed."""

    code = "integrity"
    status = 500
    exit = 7
    fix = "Stop, keep everything as it is, and tell the auditor: this is evidence."


class PolicyEngineMissingError(FaultError):
    """The embedded policy engine is not installed here, so nothing can be decided or replayed."""

    code = "policy-engine-missing"
    fix = "Install `gordon-to-regorus` in the pinned version, for example with `pip install 'sulku[server]'`."
