"""The base of a trial's configuration and the searched values, joined to one `TrialConfig`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from trainables.config import TrialConfig


class NotAMappingError(ValueError):
    """A path leads below a key whose value is no mapping of keys."""

    def __init__(self, key: str, value: Any, place: str | None = None) -> None:
        super().__init__(key, value)
        self.key, self.value = key, value
        self.place = place  # in a list that the path leads to


def merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` (nested) with each dotted path of ``values`` set in it; a number is a place in a list that is there.

    Raises:
        NotAMappingError: a path leads below a value, or to no place of a list.
    """
    result = copy.deepcopy(dict(base))
    for path, value in values.items():
        *parents, leaf = path.split(".")
        target: Any = result
        for depth, parent in enumerate(parents, 1):
            above, below = target, parents[depth] if depth < len(parents) else leaf
            key = parent if isinstance(above, dict) else int(parent)
            if isinstance(above, dict):
                above.setdefault(parent, [] if below.isdigit() else {})
            target = above[key]
            if isinstance(target, tuple):
                target = above[key] = list(target)
            if not (isinstance(target, dict) or (isinstance(target, list) and below.isdigit() and int(below) < len(target))):
                raise NotAMappingError(".".join(parents[:depth]), target, below if below.isdigit() else None)
        target[int(leaf) if isinstance(target, list) else leaf] = value
    return result


def trial_config(base: Mapping[str, Any], values: Mapping[str, Any]) -> TrialConfig:
    """The validated configuration of the trial with these searched values; pydantic's ValidationError when they do not fit."""
    return TrialConfig.model_validate(merged(base, values))
