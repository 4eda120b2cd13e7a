"""What can go wrong between us and a cluster, each with a message that lists every way out."""

from __future__ import annotations

from collections.abc import Iterable


class ClusterError(RuntimeError):
    """Something about the cluster that the user can put right; the message says how."""


class UnreachableError(ClusterError):
    """Nothing that speaks Ray answers at the address."""


class TokenError(ClusterError):
    """The cluster asks for a token, and there is none or a wrong one; or the other way round."""


class JobNotFoundError(ClusterError):
    """The cluster knows no job of that id."""


def with_ways(problem: str, ways: Iterable[str]) -> str:
    """A message of one line for the problem and one for each way to fix it."""
    return "\n".join([f"{problem}. Ways to fix it:", *(f"  - {way}" for way in ways)])
