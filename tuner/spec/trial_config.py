"""The base of a trial's configuration and the searched values, joined to one `TrialConfig`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from trainables.config import TrialConfig


class NotAMappingError(ValueError):
    """A path leads below a key whose value is no mapping of keys."""

    def __init__(self, key: str, value: Any) -> None:
        super().__init__(key, value)
        self.key, self.value = key, value


def merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` (nested) with each dotted path of ``values`` set in it. NotAMappingError where one leads below a value."""
    result = copy.deepcopy(dict(base))
    for path, value in values.items():
        *parents, leaf = path.split(".")
        target: Any = result
        for depth, parent in enumerate(parents, 1):
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise NotAMappingError(".".join(parents[:depth]), target)
        target[leaf] = value
    return result


def trial_config(base: Mapping[str, Any], values: Mapping[str, Any]) -> TrialConfig:
    """The validated configuration of the trial with these searched values; pydantic's ValidationError when they do not fit."""
    return TrialConfig.model_validate(merged(base, values))
