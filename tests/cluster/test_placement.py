from __future__ import annotations

import pytest

from cluster import GroupShape, Node, PlacementError, plan, this_machine

GIB = 2**30


def nodes(*cpus: float, gpus: float = 0, memory_gib: int = 16) -> list[Node]:
    return [Node(name=f"n{index}", cpus=count, gpus=gpus, memory_bytes=memory_gib * GIB) for index, count in enumerate(cpus)]


@pytest.mark.parametrize(
    ("shape", "machines", "concurrency"),
    [
        (GroupShape(), nodes(1), 1),
        (GroupShape(), nodes(4), 4),
        (GroupShape(workers=2), nodes(4), 2),
        (GroupShape(workers=2), nodes(5), 2),
        (GroupShape(workers=2), nodes(1, 1), 1),  # a group may span nodes
        (GroupShape(workers=2), nodes(3, 3), 3),  # one of them does
        (GroupShape(workers=2, one_node=True), nodes(3, 3), 2),
        (GroupShape(workers=2, cpus_per_worker=2), nodes(3, 3), 1),  # a worker may not
        (GroupShape(cpus_per_worker=0.1), nodes(0.3), 3),  # which floating point gets wrong
        (GroupShape(cpus_per_worker=1, gpus_per_worker=1), nodes(8, 8, gpus=2), 4),
        (GroupShape(cpus_per_worker=4, gpus_per_worker=1), nodes(6, 6, gpus=4), 2),  # CPUs are the limit
        (GroupShape(cpus_per_worker=0, gpus_per_worker=0.5), nodes(1, gpus=2), 4),
        (GroupShape(cpus_per_worker=0, gpus_per_worker=0.6), nodes(1, gpus=2), 2),  # a share lies within one GPU
        (GroupShape(workers=2, memory_bytes_per_worker=5 * GIB), nodes(64, 64), 3),
    ],
)
def test_places_as_many_groups_as_fit(shape: GroupShape, machines: list[Node], concurrency: int) -> None:
    found = plan(shape, machines)
    assert found.concurrency == found.capacity == concurrency
    for node in machines:
        placed = sum(group.get(node.name, 0) for group in found.groups)
        assert placed * shape.cpus_per_worker <= node.cpus + 1e-9
        assert placed * shape.gpus_per_worker <= node.gpus
        assert placed * shape.memory_bytes_per_worker <= node.memory_bytes
    assert all(sum(group.values()) == shape.workers for group in found.groups)
    assert not shape.one_node or all(len(group) == 1 for group in found.groups)


def test_places_no_more_than_wanted_and_says_so() -> None:
    found = plan(GroupShape(workers=2), nodes(3, 3), at_most=2)
    assert found.groups == ({"n0": 2}, {"n1": 2})  # the groups that would span nodes come last
    assert found.describe() == [
        "2 worker groups at once, each 2 workers of 1 CPU (the cluster could hold 3)",
        "  group 0: 2 on n0",
        "  group 1: 2 on n1",
    ]


@pytest.mark.parametrize(
    ("shape", "machines", "message"),
    [
        (GroupShape(workers=4), nodes(2, 1), "a group's workers must all run at once, and the cluster holds 3 of them"),
        (GroupShape(cpus_per_worker=4), nodes(2, 3), "a worker must fit on one node, and none has what it asks for"),
        (GroupShape(workers=3, one_node=True), nodes(2, 2), "must fit on one node, and the largest holds 2 of its workers"),
        (GroupShape(gpus_per_worker=1), nodes(8), "none has what it asks for"),
        (GroupShape(memory_bytes_per_worker=20 * GIB), nodes(8), "none has what it asks for"),
        (GroupShape(), [], r"Nodes:\n  \(none\)"),
    ],
)
def test_refuses_what_can_never_fit(shape: GroupShape, machines: list[Node], message: str) -> None:
    with pytest.raises(PlacementError, match=message):
        plan(shape, machines)


def test_a_refusal_tells_what_was_asked_and_what_each_node_has() -> None:
    asked = GroupShape(workers=2, cpus_per_worker=4, gpus_per_worker=1, memory_bytes_per_worker=2 * GIB)
    with pytest.raises(PlacementError) as caught:
        plan(asked, [Node(name="a", cpus=2, gpus=1, memory_bytes=4 * GIB), Node(name="b", cpus=3, memory_bytes=GIB)])
    assert str(caught.value).splitlines() == [
        "a group of 2 workers of 4 CPU, 1 GPU, 2.0 GiB can never be placed: "
        "a worker must fit on one node, and none has what it asks for. Nodes:",
        "  a: 2 CPU, 1 GPU, 4.0 GiB",
        "  b: 3 CPU, no GPU, 1.0 GiB",
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workers": 0}, "workers >= 1 must hold, but got 0"),
        ({"cpus_per_worker": -1}, "cpus_per_worker >= 0 must hold"),
        ({"cpus_per_worker": 0}, "must ask for CPUs or GPUs"),
        ({"gpus_per_worker": 1.5}, "above 1 must be a whole number"),
    ],
)
def test_a_shape_checks_itself(fields: dict[str, float], message: str) -> None:
    with pytest.raises(PlacementError, match=message):
        GroupShape(**fields)  # type: ignore[arg-type]


def test_speaks_ray() -> None:
    assert GroupShape(gpus_per_worker=0.5, memory_bytes_per_worker=GIB).bundle() == {"CPU": 1, "GPU": 0.5, "memory": GIB}
    assert GroupShape().bundle() == {"CPU": 1}
    assert (GroupShape().strategy, GroupShape(one_node=True).strategy) == ("PACK", "STRICT_PACK")


def test_this_machine_is_seen_without_starting_ray() -> None:
    (node,) = this_machine(num_cpus=3, num_gpus=0)
    assert (node.cpus, node.gpus) == (3, 0)
    assert node.memory_bytes > 0
    assert this_machine()[0].cpus >= 1
