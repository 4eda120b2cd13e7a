"""What a cluster can place: how many worker groups at once, and a refusal of what can never fit.

`plan` is a pure function over a list of nodes. All workers of a sweep ask for the same, so packing needs no search: a node
holds a fixed number of workers, and counting those is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cluster.ray_internals import free_by_node, resources_here
from cluster.session import OBJECT_STORE_BYTES

_GIB = 2**30
# Ray counts resources in ten-thousandths; so do we, or 3 x 0.1 would not fit into 0.3.
_UNIT = 10_000


class PlacementError(ValueError):
    """What is asked for can never be placed on these nodes."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """The resources of one machine of a cluster."""

    name: str
    id: str = ""  # Ray's; "" of a machine where Ray does not run yet
    cpus: float
    gpus: float = 0
    memory_bytes: int = 0

    def __str__(self) -> str:
        gpus = f", {self.gpus:g} GPU" if self.gpus else ", no GPU"
        return f"{self.name}: {self.cpus:g} CPU{gpus}, {self.memory_bytes / _GIB:.1f} GiB"


@dataclass(frozen=True, kw_only=True)
class GroupShape:
    """What one worker group asks for: ``workers`` equal workers, together on one node if ``one_node``."""

    workers: int = 1
    cpus_per_worker: float = 1
    gpus_per_worker: float = 0
    memory_bytes_per_worker: int = 0
    one_node: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise PlacementError(f"workers >= 1 must hold, but got {self.workers}")
        for name in ("cpus_per_worker", "gpus_per_worker", "memory_bytes_per_worker"):
            if getattr(self, name) < 0 or not math.isfinite(getattr(self, name)):
                raise PlacementError(f"{name} >= 0 must hold, but got {getattr(self, name)}")
        if self.cpus_per_worker == self.gpus_per_worker == 0:
            # Ray would place such workers without end on one node.
            raise PlacementError("a worker must ask for CPUs or GPUs, but both are 0")
        if self.gpus_per_worker > 1 and self.gpus_per_worker != int(self.gpus_per_worker):
            raise PlacementError(f"gpus_per_worker above 1 must be a whole number, but got {self.gpus_per_worker}")

    @property
    def strategy(self) -> Literal["PACK", "STRICT_PACK"]:
        """The placement strategy in Ray's terms."""
        return "STRICT_PACK" if self.one_node else "PACK"

    def bundle(self) -> dict[str, float]:
        """The resources of one worker in Ray's terms."""
        asked = {"CPU": self.cpus_per_worker, "GPU": self.gpus_per_worker, "memory": float(self.memory_bytes_per_worker)}
        return {name: amount for name, amount in asked.items() if amount}

    def __str__(self) -> str:
        each = [f"{self.cpus_per_worker:g} CPU"]
        if self.gpus_per_worker:
            each.append(f"{self.gpus_per_worker:g} GPU")
        if self.memory_bytes_per_worker:
            each.append(f"{self.memory_bytes_per_worker / _GIB:.1f} GiB")
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return f"{workers} of {', '.join(each)}{' on one node' if self.one_node else ''}"


@dataclass(frozen=True)
class PlacementPlan:
    """How many groups run side by side, and one way to place them: for each group, workers by node name."""

    shape: GroupShape
    groups: tuple[dict[str, int], ...]
    capacity: int  # groups that the nodes could hold; more than len(groups) when fewer are wanted

    @property
    def concurrency(self) -> int:
        """Groups that run at once."""
        return len(self.groups)

    def describe(self) -> list[str]:
        """Lines for a dry run."""
        head = f"{self.concurrency} worker group{'s' if self.concurrency > 1 else ''} at once, each {self.shape}"
        if self.capacity > self.concurrency:
            head += f" (the cluster could hold {self.capacity})"
        lines = [", ".join(f"{count} on {node}" for node, count in group.items()) for group in self.groups]
        return [head, *(f"  group {index}: {line}" for index, line in enumerate(lines))]


def plan(shape: GroupShape, nodes: Sequence[Node], *, at_most: int | None = None) -> PlacementPlan:
    """How many groups of ``shape`` the nodes hold at once, and where.

    Args:
        shape: what one group asks for.
        nodes: the machines (`read_nodes`, `this_machine`).
        at_most: groups that are wanted at once, such as the number of trials; None: as many as fit.

    Raises:
        PlacementError: not even one group can ever be placed.
    """
    if at_most is not None and at_most < 1:
        raise PlacementError(f"at_most >= 1 must hold, but got {at_most}")
    slots = {node.name: slots_of(shape, node) for node in nodes}
    if len(slots) != len(nodes):
        raise ValueError(f"node names must differ, but got {[node.name for node in nodes]}")
    total, largest = sum(slots.values()), max(slots.values(), default=0)
    if (largest if shape.one_node else total) < shape.workers:
        raise PlacementError(_never(shape, nodes, total, largest))
    capacity = sum(count // shape.workers for count in slots.values()) if shape.one_node else total // shape.workers
    wanted = capacity if at_most is None else min(at_most, capacity)
    return PlacementPlan(shape, tuple(_assign(shape, slots, wanted)), capacity)


def slots_of(shape: GroupShape, node: Node) -> int:
    """How many workers of ``shape`` one node holds."""
    limits = []
    if shape.cpus_per_worker:
        limits.append(_times(shape.cpus_per_worker, node.cpus))
    if 0 < shape.gpus_per_worker < 1:
        # A share of a GPU lies within one GPU: two workers of 0.6 do not fit into one and a bit each.
        limits.append(int(node.gpus) * _times(shape.gpus_per_worker, 1))
    elif shape.gpus_per_worker:
        limits.append(_times(shape.gpus_per_worker, node.gpus))
    if shape.memory_bytes_per_worker:
        limits.append(node.memory_bytes // shape.memory_bytes_per_worker)
    return min(limits)


def read_nodes(*, free: bool = False) -> list[Node]:
    """The living nodes of the cluster that this process is connected to.

    Args:
        free: what is free at this moment rather than all there is (to say why a group waits).
    """
    import ray

    available = free_by_node() if free else {}
    nodes = []
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        amounts = available.get(node["NodeID"], {}) if free else node["Resources"]
        # Nodes of one machine share its host name: the id tells them apart.
        name = f"{node['NodeManagerHostname']}/{node['NodeID'][:6]}"
        nodes.append(_node(name, node["NodeID"], amounts.get("CPU", 0), amounts.get("GPU", 0), amounts.get("memory", 0)))
    return sorted(nodes, key=lambda node: node.name)


def this_machine(*, num_cpus: int | None = None, num_gpus: int | None = None) -> list[Node]:
    """The one node that an embedded Ray would have here, found as Ray finds it, without starting it."""
    spec = resources_here(num_cpus, num_gpus, OBJECT_STORE_BYTES)
    return [_node("this machine", "", spec.num_cpus, spec.num_gpus, spec.memory)]


def _node(name: str, node_id: str, cpus: float, gpus: float, memory: float) -> Node:
    return Node(name=name, id=node_id, cpus=cpus, gpus=gpus, memory_bytes=int(memory))


def _times(part: float, whole: float) -> int:
    return round(whole * _UNIT) // max(1, round(part * _UNIT))


def _assign(shape: GroupShape, slots: dict[str, int], wanted: int) -> list[dict[str, int]]:
    """Whole groups on one node first, the fullest fit first; then groups that span nodes."""
    free = dict(slots)
    groups: list[dict[str, int]] = []
    for node in sorted(free, key=lambda name: -free[name]):
        while free[node] >= shape.workers and len(groups) < wanted:
            free[node] -= shape.workers
            groups.append({node: shape.workers})
    while len(groups) < wanted:
        group: dict[str, int] = {}
        for node in sorted(free, key=lambda name: -free[name]):
            taken = min(free[node], shape.workers - sum(group.values()))
            if taken:
                free[node] -= taken
                group[node] = taken
        groups.append(group)
    return groups


def _never(shape: GroupShape, nodes: Sequence[Node], total: int, largest: int) -> str:
    if largest == 0:
        rule = "a worker must fit on one node, and none has what it asks for"
    elif shape.one_node:
        rule = f"a group must fit on one node, and the largest holds {largest} of its workers"
    else:
        rule = f"a group's workers must all run at once, and the cluster holds {total} of them"
    listed = "\n".join(f"  {node}" for node in nodes) or "  (none)"
    return f"a group of {shape} can never be placed: {rule}. Nodes:\n{listed}"
