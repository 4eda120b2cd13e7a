"""A sweep never waits silently: when worker groups cannot be placed for a while, the user is told why."""

from __future__ import annotations

import time

from cluster.janitor import held_placement_groups
from cluster.placement import GroupShape, PlacementError, plan, read_nodes

_PATIENCE_S = 20.0
_LOOK_EVERY_S = 5.0


class Starvation:
    """Looks now and then at this job's placement groups that wait for resources.

    Args:
        shape: what a worker group asks for.
    """

    def __init__(self, shape: GroupShape) -> None:
        self.shape = shape
        self._looked_at = 0.0
        self._waiting_since: dict[str, float] = {}

    def reason(self) -> str | None:
        """Why worker groups have been waiting for longer than is usual; None when none has. Cheap to call often."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return None
        self._looked_at = now
        waiting = {group.id for group in held_placement_groups() if group.state != "CREATED"}
        self._waiting_since = {group: self._waiting_since.get(group, now) for group in waiting}
        starved = [since for since in self._waiting_since.values() if now - since > _PATIENCE_S]
        if not starved:
            return None
        seconds = now - min(starved)
        text = f"{len(starved)} worker group{'s' if len(starved) > 1 else ''} waiting for {seconds:.0f} s"
        try:
            plan(self.shape, read_nodes(free=True))
        except PlacementError as error:
            return f"{text}: what others have left free does not suffice now. {error}"
        return f"{text}: the cluster has what they ask for, and is placing them"
