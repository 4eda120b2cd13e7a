"""The base of a trial's configuration and the searched values, joined to one `TrialConfig`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from trainables.config import TrialConfig


def merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` (nested) with each dotted path of ``values`` set in it."""
    result = copy.deepcopy(dict(base))
    for path, value in values.items():
        *parents, leaf = path.split(".")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
        target[leaf] = value
    return result


def trial_config(base: Mapping[str, Any], values: Mapping[str, Any]) -> TrialConfig:
    """The validated configuration of the trial with these searched values; pydantic's ValidationError when they do not fit."""
    return TrialConfig.model_validate(merged(base, values))
