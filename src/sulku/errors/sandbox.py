"""Workspaces that cannot be isolated, proved, or reached."""

from __future__ import annotations

from collections.abc import Collection

from sulku.errors.base import FaultError, RefusalError


class IsolationUnavailableError(FaultError):
    """This machine cannot isolate a workspace, so none is started; ``missing`` names the checks that failed."""

    code = "isolation-unavailable"
    fix = "Run `sulku-broker doctor`: it names each missing part and how to get it. Nothing runs unisolated."

    def __init__(self, missing: Collection[str], detail: str = "") -> None:
        """Keep the names of the failed checks, sorted."""
        self.missing = tuple(sorted(missing))
        super().__init__(f"cannot isolate a workspace: {', '.join(self.missing)}{f' ({detail})' if detail else ''}")


class NotProvedClosedError(RefusalError):
    """Data was asked for in a workspace whose closure is not proved; there is no way around it."""

    code = "not-proved-closed"
    status = 409
    exit = 5
    fix = "Close this tunnel and open a new one; if it happens again, an operator must look at the closure report."


class HomeInUseError(RefusalError):
    """Another tunnel has this home; two at once would corrupt it."""

    code = "home-in-use"
    status = 409
    exit = 5
    fix = "Enter the tunnel that is open under this permit, or close it first."


class WorkspaceNotReadyError(FaultError):
    """The workspace runs but does not answer in time."""

    code = "workspace-not-ready"
    fix = "Try again in a minute; if it stays so, close the tunnel and open a new one. Your work is kept."


class SandboxError(FaultError):
    """The sandbox could not do what was asked; it was ended rather than left half done."""

    code = "sandbox"
    fix = "Open a new tunnel; operators find the cause in the end record."


class ClusterUnavailableError(FaultError):
    """The cluster's API server does not answer, so that nothing can be opened; what runs ends by its own clock."""

    code = "cluster-unavailable"
    fix = "Try again in a minute. Operators: see whether the API server answers, and whether the worker's account may ask it."
