"""Starting or joining Ray: ``with connect(address) as session``.

Without an address an embedded Ray is started for the length of the block: always a fresh one, whatever else runs on this host
and whatever RAY_ADDRESS says. With an address the cluster there is joined. The cluster is asked first (one call, a few
milliseconds) whether it is there, whether it wants a token and takes ours, and whether it runs our version of Ray: Ray itself
needs 20 seconds to say "failed to connect" to a wrong token and minutes to nobody answering.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from cluster.auth import TOKEN, auth_mode, authorization, check_no_token_demanded, missing_token, wrong_token
from cluster.environment import environment
from cluster.errors import ClusterError, TokenError, UnreachableError, with_ways
from cluster.ray_internals import certificates, control_service, running_here, started_here

AUTO = "auto"

# Trials hand each other files, not objects: Ray's default would claim 30 % of the machine's memory.
OBJECT_STORE_BYTES = 256 * 2**20

_PROBE_TIMEOUT_S = 5.0
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """A connection to Ray."""

    address: str  # host:port of the cluster's control service, as `connect` takes it
    embedded: bool  # started by us, gone when the block ends
    dashboard_url: str | None


@contextmanager
def connect(
    address: str | None = None,
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    dashboard: bool = False,
    code: Sequence[Path] = (),
    env_vars: Mapping[str, str] | None = None,
    log_to_driver: bool = False,
) -> Iterator[Session]:
    """Starts an embedded Ray or joins a cluster; leaves it, and ends an embedded one, on every way out.

    Args:
        address: None starts an embedded Ray; "auto" joins the cluster named in RAY_ADDRESS or started by ``ray start`` on this
            machine; "host:port" joins the cluster whose control service listens there.
        num_cpus: CPUs an embedded Ray may use; all of the machine when None. Not for a cluster, which knows its own.
        num_gpus: the same for GPUs.
        dashboard: whether an embedded Ray brings its dashboard, on the loopback interface only.
        code: folders of Python packages to ship to a cluster. Not needed by an embedded Ray, which shares our files; inside a
            submitted job they came with the job.
        env_vars: environment variables for all workers, and for this process too where it starts an embedded Ray. Inside a
            submitted job, those of the job win.
        log_to_driver: whether what workers print shows here.

    Raises:
        UnreachableError: nothing that speaks Ray answers at the address.
        TokenError: the cluster wants a token, and there is none or a wrong one.
        ClusterError: anything else that keeps us from connecting; the message says what to do.
    """
    if ray.is_initialized():
        raise ClusterError("this process is already connected to Ray: call ray.shutdown() first")
    with ExitStack() as stack:
        if address is None:
            options = _start(stack, env_vars or {})
            options |= {"num_cpus": num_cpus, "num_gpus": num_gpus, "include_dashboard": dashboard}
        elif num_cpus is not None or num_gpus is not None:
            raise ClusterError(f"num_cpus and num_gpus are for an embedded Ray; the cluster at {address} knows its own")
        else:
            options = _join(stack, resolve_address(address), code, env_vars or {})
        # Before the start, so that an interrupt in mid-start cleans up as well; waits until the processes have gone.
        stack.callback(ray.shutdown, wait_for_processes=True)
        context = _init({"logging_level": logging.ERROR, "log_to_driver": log_to_driver} | options)
        yield Session(
            address=context.address_info["gcs_address"],
            embedded=address is None,
            dashboard_url=f"http://{context.dashboard_url}" if context.dashboard_url else None,
        )


def _start(stack: ExitStack, env_vars: Mapping[str, str]) -> dict[str, Any]:
    """``ray.init``'s options of an embedded Ray; what it needs of this process's environment is undone with ``stack``."""
    if inside_job():
        raise ClusterError('a submitted job runs on its own cluster: give it --address auto (connect("auto"))')
    stack.enter_context(auth_mode(os.environ.get("RAY_AUTH_MODE", "token")))
    # Inherited: as a runtime environment they would cost every new process the better part of a second.
    stack.enter_context(environment(env_vars))
    # "local" is the one address that starts a fresh instance even if RAY_ADDRESS is set or another Ray runs here.
    return {"address": "local", "dashboard_host": "127.0.0.1", "object_store_memory": OBJECT_STORE_BYTES}


def _join(stack: ExitStack, address: str, code: Sequence[Path], env_vars: Mapping[str, str]) -> dict[str, Any]:
    """``ray.init``'s options for a cluster that lets us in; what that needs of the environment is undone with ``stack``."""
    stack.enter_context(auth_mode(probe(address)))
    runtime_env: dict[str, Any] = {}
    if own_vars := {name: value for name, value in env_vars.items() if name not in _job_env_vars()}:
        runtime_env["env_vars"] = own_vars
    if code and not inside_job():
        runtime_env["py_modules"] = [str(folder) for folder in code]
    return {"address": address} | ({"runtime_env": runtime_env} if runtime_env else {})


def inside_job() -> bool:
    """Whether this process is the entrypoint of a job submitted to a cluster, whose code and environment came with it."""
    return _JOB_CONFIG in os.environ


def resolve_address(address: str) -> str:
    """``host:port`` for an address that a user gave.

    Raises:
        ClusterError: "auto" finds no cluster, or the address is of a form that cannot carry a sweep.
    """
    if address == AUTO:
        return _find_local_cluster()
    if "://" in address:
        raise ClusterError(
            with_ways(
                f"{address} cannot be joined: a sweep needs the cluster's own address, host:port"
                + (" (a Ray Client connection ends with the terminal that opened it)" if address.startswith("ray://") else ""),
                (
                    "submit the sweep as a job: `gansweep submit SPEC --address http://HEAD:8265`",
                    "on a machine of the cluster, join it with --address auto or --address HEAD:6379",
                ),
            )
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ClusterError(f"an address must be 'auto' or host:port (such as 10.0.0.1:6379), but got {address!r}")
    return address


def probe(address: str) -> str:
    """Asks the cluster at ``host:port`` whether we can join it; returns the authentication mode it wants.

    Raises:
        UnreachableError: nothing that speaks Ray answers.
        TokenError: it wants a token and there is none or a wrong one.
        ClusterError: it runs another version of Ray.
    """
    version = _ask_version(address, {})
    if version is None:
        header = authorization()
        if not header:
            raise missing_token(address)
        version = _ask_version(address, header)
        if version is None:
            raise wrong_token(address)
        mode = "token"
    else:
        check_no_token_demanded(address)
        _LOGGER.warning("the cluster at %s asks for no token: whoever reaches it can run code there", address)
        mode = "disabled"
    if version != ray.__version__:
        raise ClusterError(f"the cluster at {address} runs Ray {version}, this process {ray.__version__}: they must be equal")
    return mode


def _ask_version(address: str, header: Mapping[str, str]) -> str | None:
    """The Ray version running at ``address``; None if it does not let us in."""
    import grpc  # type: ignore[import-untyped]

    service, request = control_service()
    with _channel(address) as channel:
        try:
            reply = service(channel).CheckAlive(request, timeout=_PROBE_TIMEOUT_S, metadata=tuple(header.items()))
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return None
            raise UnreachableError(
                with_ways(
                    f"no Ray cluster answers at {address} ({error.code().name.lower()}: {error.details()})",
                    (
                        "check host and port: the port is that of `ray start --port` (6379 unless set), not the dashboard's",
                        "check on the head node that it runs: `ray status`",
                        "if it speaks TLS: set RAY_USE_TLS=1 and Ray's three variables for certificates, as on its nodes",
                        "start one: `ray start --head`",
                        "leave --address away to run on this machine alone",
                    ),
                )
            ) from None
        return str(reply.ray_version)


def _channel(address: str) -> Any:
    """A connection as Ray itself would make it: with TLS where the environment says that the cluster speaks it."""
    import grpc

    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return grpc.insecure_channel(address)
    try:
        certificate, key, authority = certificates()
    except (OSError, RuntimeError) as error:
        variables = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")
        ways = [f"set {', '.join(variables)} to files in PEM format", "unset RAY_USE_TLS for a cluster without TLS"]
        raise ClusterError(with_ways(f"RAY_USE_TLS is set, but the certificates cannot be read: {error}", ways)) from error
    credentials = grpc.ssl_channel_credentials(certificate_chain=certificate, private_key=key, root_certificates=authority)
    return grpc.secure_channel(address, credentials)


def _job_env_vars() -> dict[str, str]:
    """What this process's job set for all workers when it was submitted: Ray refuses to hear of the same name twice."""
    config = json.loads(os.environ.get(_JOB_CONFIG, "{}"))
    return (config.get("runtime_env") or {}).get("env_vars") or {}


def _find_local_cluster() -> str:
    """The cluster named in RAY_ADDRESS, else the one that ``ray start`` began on this machine and that still answers.

    Unlike Ray's own "auto" it never picks an instance that another program embeds: that one is not ours to use.
    """
    named = os.environ.get("RAY_ADDRESS")
    if named and named != AUTO:
        return resolve_address(named)
    if started := started_here():
        return started
    running = running_here()
    ways = ["set RAY_ADDRESS or --address to host:port of the cluster", "start one: `ray start --head`"]
    if running:
        ways.insert(0, f"join one of the Ray instances that run on this machine: --address {' or '.join(running)}")
    raise UnreachableError(with_ways("no cluster was started by `ray start` on this machine", ways))


def _init(options: dict[str, Any]) -> Any:
    """``ray.init`` with its failures put in our words."""
    try:
        return ray.init(**options)
    except PermissionError as error:
        raise TokenError(
            with_ways(
                f"Ray cannot write the token of its embedded cluster: {error}",
                ("make ~/.ray writable", f"set {TOKEN} to any secret of your own (such as the output of `openssl rand -hex 32`)"),
            )
        ) from error
    except ConnectionError as error:
        raise UnreachableError(
            with_ways(
                f"the cluster answers, but this machine cannot join it: {error}",
                (
                    "run on a machine of the cluster: a driver needs a Ray node beside it",
                    "submit the sweep as a job: `gansweep submit SPEC --address http://HEAD:8265`",
                ),
            )
        ) from error
    except RuntimeError as error:
        ways = ["look into Ray's logs: /tmp/ray/session_latest/logs (gcs_server.err, raylet.err)"]
        ways.append("give it another try if the machine was very busy: Ray waits 30 seconds for its own processes")
        raise ClusterError(with_ways(f"Ray did not start: {error}", ways)) from error
