"""Ray's token authentication from the client's side.

A cluster either asks every client for one shared token or none. Ray leaves it to the client to know which: it switches its side
on for clusters that it starts, never for an address that is given to it, and a client on the wrong side retries for twenty
seconds and then says only that it failed to connect. So we ask the cluster first, and set this process accordingly.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.environment import environment
from cluster.errors import TokenError, with_ways
from cluster.ray_internals import read_environment_again, token_loader

MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"

_WAYS = (
    f"set {TOKEN_PATH} to a file that holds the cluster's token",
    f"set {TOKEN} to the token itself",
    "put the token into ~/.ray/auth_token",
    "(on the machine where the cluster was started, `ray get-auth-token` prints it)",
)


def authorization() -> dict[str, str]:
    """The header that carries the token, from wherever Ray looks for one; empty when there is none.

    Raises:
        TokenError: a place for the token is named in the environment and cannot be read.
    """
    from ray.exceptions import AuthenticationError

    loader = token_loader()
    try:
        if not loader.has_token(ignore_auth_mode=True):
            return {}
        return {"authorization": f"Bearer {loader.get_raw_token(ignore_auth_mode=True)}"}
    except AuthenticationError as error:
        raise TokenError(with_ways(f"the token cannot be read: {error.message}", _WAYS)) from None


def missing_token(address: str) -> TokenError:
    """The cluster at ``address`` asks for a token and we have none."""
    return TokenError(with_ways(f"the cluster at {address} asks for a token and none was found here", _WAYS))


def wrong_token(address: str) -> TokenError:
    """The cluster at ``address`` does not accept our token."""
    return TokenError(with_ways(f"the cluster at {address} does not accept the token found here ({_source()})", _WAYS))


def check_no_token_demanded(address: str) -> None:
    """Refuses to join a cluster that asks for no token when the environment demands one."""
    if os.environ.get(MODE, "").lower() == "token":
        raise TokenError(
            with_ways(
                f"{MODE}=token is set, but the cluster at {address} asks for no token: whoever reaches it can run code there",
                (f"start the cluster's nodes with {MODE}=token and a token", f"unset {MODE} to join it as it is"),
            )
        )


@contextmanager
def auth_mode(mode: str) -> Iterator[None]:
    """This process and its children speak to clusters in ``mode`` ("token" or "disabled"); undone at the end."""
    try:
        with environment({MODE: mode}):
            read_environment_again()
            yield
    finally:
        read_environment_again()


def _source() -> str:
    if os.environ.get(TOKEN):
        return f"from {TOKEN}"
    if os.environ.get(TOKEN_PATH):
        return f"from {os.environ[TOKEN_PATH]}"
    return "from ~/.ray/auth_token"
