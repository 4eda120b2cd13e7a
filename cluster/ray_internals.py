"""Every name of Ray's core that is not part of its public interface, each with why it is needed.

Nothing else below `cluster` imports them; those of Tune and Train are in `tuner.engine.ray_internals`. The contract tests beside
this file's tests say which of them broke when Ray changes. Imported where used: a command that only asks a job's status should
not load them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def token_loader() -> Any:
    """Ray's reader of tokens, with its cache emptied.

    Public Ray neither says whether it has a token nor forgets one: it reads the environment once per process, which may have
    changed since.
    """
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # missing in its stub

    loader = AuthenticationTokenLoader.instance()
    loader.reset_cache()
    return loader


def read_environment_again() -> None:
    """Makes Ray read its authentication mode and token from the environment anew.

    With a token of an earlier cluster in its cache it would not write the token file that the processes of an embedded cluster
    need, and their start would time out.
    """
    from ray._raylet import Config  # type: ignore[attr-defined]  # missing in its stub

    Config.initialize("")
    token_loader()


def placement_groups() -> Iterator[Any]:
    """What the cluster's control service knows of each placement group (``PlacementGroupTableData``).

    The public `placement_group_table` tells neither which job made a group nor whether its creator has died.
    """
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData

    for raw in state._connect_and_get_accessor().get_placement_group_table():
        yield PlacementGroupTableData.FromString(raw)


def placement_group_state(data: Any) -> str:
    """PENDING, PREPARED, CREATED, REMOVED or RESCHEDULING: the name that `placement_groups` gives as a number."""
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData

    return str(PlacementGroupTableData.PlacementGroupState.Name(data.state))


def placement_group_of(group_id: str) -> Any:
    """The placement group of an id: Ray can remove one that this process did not make, but not look one up by its id."""
    from ray import PlacementGroupID
    from ray.util.placement_group import PlacementGroup

    return PlacementGroup(PlacementGroupID(bytes.fromhex(group_id)))


def free_by_node() -> Mapping[str, Mapping[str, float]]:
    """Node id → free resources at this moment; publicly Ray tells them for the whole cluster only."""
    from ray._private.state import available_resources_per_node

    return available_resources_per_node()


def resources_here(num_cpus: int | None, num_gpus: int | None, object_store_bytes: int) -> Any:
    """What an embedded Ray would find on this machine, found by its own code, without starting it."""
    from ray._private.resource_and_label_spec import ResourceAndLabelSpec

    spec = ResourceAndLabelSpec(num_cpus=num_cpus, num_gpus=num_gpus, object_store_memory=object_store_bytes)
    return spec.resolve(is_head=True, node_ip_address="127.0.0.1")


def control_service() -> tuple[Any, Any]:
    """(class of the control service's stub, an empty request whether it lives): asked before `ray.init`, which needs 20 seconds
    to say "failed to connect" to a wrong token and minutes to nobody answering."""
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    return gcs_service_pb2_grpc.NodeInfoGcsServiceStub, gcs_service_pb2.CheckAliveRequest()


def certificates() -> tuple[bytes, bytes, bytes]:
    """(certificate, private key, authority's certificate) for clusters that speak TLS, from where Ray's own variables say."""
    from ray._common.tls_utils import load_certs_from_env

    return load_certs_from_env()


def started_here() -> str | None:
    """The address of the cluster that ``ray start`` began on this machine, if it still answers."""
    from ray._private import services

    found = services.find_bootstrap_address(None)
    return str(found) if found else None


def running_here() -> list[str]:
    """The addresses of all Ray instances that run on this machine, those that programs embed among them."""
    from ray._private import services

    return sorted(map(str, services.find_gcs_addresses()))
