"""Whether every node of a cluster sees the sweep's folder and its pictures, before the first trial runs on one that does not."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.placement import Node
from tuner.records.paths import SweepPaths

_TIMEOUT_S = 60.0


class NodesError(ValueError):
    """Some nodes cannot carry the sweep; the message names each, and why."""


def check_nodes(paths: SweepPaths, needed: Iterable[str], nodes: Iterable[Node]) -> None:
    """Has every other node read a file that this one writes into the sweep's folder, write one of its own, and find ``needed``.

    Args:
        needed: paths that workers read: pictures, source, weights. URIs and files of packages are passed over.

    Raises:
        NodesError: some nodes cannot.
    """
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in nodes if node.id != here]
    if not others:
        return
    token = uuid.uuid4().hex
    name = f".probe-{token[:8]}"
    paths.storage.write_bytes(name, token.encode())
    try:
        local = [path for path in needed if "://" not in path and not path.startswith("package:")]
        task = ray.remote(num_cpus=0, max_retries=1)(_problem)
        asked = {
            node: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
                str(paths.folder / name), token, local
            )
            for node in others
        }
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=_TIMEOUT_S)
        problems = [f"  {node}: {problem}" for node, answer in asked.items() if (problem := _answer(answer)) is not None]
    finally:
        paths.storage.delete(name)
    if problems:
        raise NodesError("every node must see the sweep's storage and data at the same paths:\n" + "\n".join(problems))


def _answer(answer: ray.ObjectRef) -> str | None:
    try:
        return ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return f"gives no answer within {_TIMEOUT_S:g} s"
    except ray.exceptions.RayError as error:
        return f"could not be asked: {error}"


def _problem(probe: str, token: str, needed: list[str]) -> str | None:
    """Runs on the node."""
    try:
        if Path(probe).read_text() != token:
            return f"{Path(probe).parent} is another folder there"
        own = Path(f"{probe}-{uuid.uuid4().hex[:8]}")
        own.write_bytes(b"")
        own.unlink()
    except OSError as error:
        return f"cannot use the sweep's folder: {error}"
    missing = [path for path in needed if not Path(path).exists()]
    return f"has no {', '.join(missing)}" if missing else None
