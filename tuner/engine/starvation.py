"""A sweep never waits silently: when worker groups cannot be placed for a while, the user is told why."""

from __future__ import annotations

import time
from contextlib import suppress

from cluster.janitor import held_placement_groups, remove_placement_groups
from cluster.placement import GroupShape, PlacementError, plan, read_nodes

_PATIENCE_S = 20.0
_LOOK_EVERY_S = 5.0
_FORGET_AFTER_S = 3 * _LOOK_EVERY_S


class Starvation:
    """Looks now and then whether the sweep's worker groups wait for resources, while any of them has not reported yet.

    A group is known by the Tune actor that owns it: Train gives its placement group up every minute and asks for another.

    Args:
        shape: what a worker group asks for.
    """

    def __init__(self, shape: GroupShape) -> None:
        self.shape = shape
        self._silent: set[str] = set()  # ids of Tune actors whose group has been started and has not reported
        self._looked_at = 0.0
        self._seen: dict[str, tuple[float, float]] = {}  # id of a Tune actor → its group waits since, and was last seen to

    def started(self, actor: str) -> None:
        """A Tune actor starts a group."""
        self._silent.add(actor)

    def reported(self, actor: str) -> None:
        """A Tune actor's group is at work."""
        self._silent.discard(actor)

    def ended(self, actor: str) -> None:
        """A Tune actor has gone."""
        self._silent.discard(actor)

    def reason(self) -> str | None:
        """Why worker groups have been waiting for longer than is usual; None when none has. Cheap to call often."""
        now = time.monotonic()
        if not self._silent or now - self._looked_at < _LOOK_EVERY_S:
            return None
        self._looked_at = now
        held = held_placement_groups()
        # What a Tune actor had no time to give back before it was ended, as when a process group takes long to be torn down.
        with suppress(TimeoutError):
            remove_placement_groups(group.id for group in held if group.orphaned)
        for group in held:
            if group.creator in self._silent and group.state != "CREATED":
                since, _ = self._seen.get(group.creator, (now, now))
                self._seen[group.creator] = since, now
        self._seen = {actor: times for actor, times in self._seen.items() if now - times[1] < _FORGET_AFTER_S}
        starved = [since for since, _ in self._seen.values() if now - since > _PATIENCE_S]
        if not starved:
            return None
        seconds = now - min(starved)
        text = f"{len(starved)} worker group{'s' if len(starved) > 1 else ''} waiting for {seconds:.0f} s"
        try:
            plan(self.shape, read_nodes(free=True))
        except PlacementError as error:
            return f"{text}: what others have left free does not suffice now. {error}"
        return f"{text}: the cluster has what they ask for, and is placing them"
