"""Looking after what a sweep holds of a cluster: its placement groups, and whether all of it has been given back.

Ray ties Train's placement groups to the job, not to the trial, so a trial that dies can leave its group behind. Only groups
that this job made are ever looked at: a cluster may be shared.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import ray

from cluster.ray_internals import placement_group_of, placement_group_state, placement_groups

_POLL_S = 0.1


@dataclass(frozen=True)
class HeldGroup:
    """A placement group that still holds, or waits for, resources."""

    id: str
    name: str
    state: str  # PENDING, PREPARED, CREATED or RESCHEDULING
    resources: dict[str, float]  # of all its bundles together
    orphaned: bool  # the actor that made it has died; Ray keeps it until the job ends


def held_placement_groups(*, known: Collection[str] = ()) -> list[HeldGroup]:
    """The placement groups of this job that have not been removed, without those whose ids are ``known`` to be in use."""
    job = ray.get_runtime_context().get_job_id()
    held = []
    for data in placement_groups():
        name = placement_group_state(data)
        group_id = data.placement_group_id.hex()
        if name == "REMOVED" or data.creator_job_id.hex() != job or group_id in known:
            continue
        resources: dict[str, float] = {}
        for bundle in data.bundles:
            for resource, amount in bundle.unit_resources.items():
                resources[resource] = resources.get(resource, 0) + amount
        # Of a group that no actor made, Ray says that the actor is dead.
        orphaned = data.creator_actor_dead and not ray.ActorID(data.creator_actor_id).is_nil()
        held.append(HeldGroup(group_id, data.name, name, resources, orphaned))
    return held


def remove_placement_groups(ids: Iterable[str], *, timeout_s: float = 30) -> None:
    """Removes placement groups and waits until they are gone. Removing one kills what runs in it; one already gone is no error.

    Raises:
        TimeoutError: some are still there after ``timeout_s``.
    """
    from ray.util.placement_group import remove_placement_group

    wanted = set(ids)
    for group_id in wanted:
        remove_placement_group(placement_group_of(group_id))
    deadline = time.monotonic() + timeout_s
    while left := [group for group in held_placement_groups() if group.id in wanted]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"placement groups still held {timeout_s:g} s after their removal: {left}")
        time.sleep(_POLL_S)


def busy_resources() -> dict[str, float]:
    """CPUs and GPUs of the cluster that someone holds at this moment; empty when all are free."""
    total, free = ray.cluster_resources(), ray.available_resources()
    busy = {name: round(total.get(name, 0) - free.get(name, 0), 4) for name in ("CPU", "GPU")}
    return {name: amount for name, amount in busy.items() if amount}


def wait_until_free(*, timeout_s: float = 30) -> dict[str, float]:
    """Waits until no CPU or GPU of the cluster is held; returns what still is after ``timeout_s`` (empty: all free).

    Ray reports free resources with a delay of up to a second, and other users of a shared cluster count as well.
    """
    deadline = time.monotonic() + timeout_s
    while (busy := busy_resources()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return busy
