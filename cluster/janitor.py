"""Looking after what a sweep holds of a cluster: its placement groups, and whether all of it has been given back.

Ray ties Train's placement groups to the job, not to the trial, so a trial that dies can leave its group behind. Only groups
that this job made are ever looked at: a cluster may be shared.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
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
    creator: str  # id of the actor that made it; "" where no actor did
    orphaned: bool  # the actor that made it has died; Ray keeps it until the job ends


def held_placement_groups() -> list[HeldGroup]:
    """The placement groups of this job that have not been removed."""
    job = ray.get_runtime_context().get_job_id()
    held = []
    for data in placement_groups():
        name = placement_group_state(data)
        group_id = data.placement_group_id.hex()
        if name == "REMOVED" or data.creator_job_id.hex() != job:
            continue
        resources: dict[str, float] = {}
        for bundle in data.bundles:
            for resource, amount in bundle.unit_resources.items():
                resources[resource] = resources.get(resource, 0) + amount
        # Of a group that no actor made, Ray says that the actor is dead.
        by_actor = not ray.ActorID(data.creator_actor_id).is_nil()
        creator = data.creator_actor_id.hex() if by_actor else ""
        # One that is detached was made to outlive its maker.
        orphaned = data.creator_actor_dead and by_actor and not data.is_detached
        held.append(HeldGroup(group_id, data.name, name, resources, creator, orphaned))
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
