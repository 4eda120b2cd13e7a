"""Discriminators by name. A new one is a file and one line in `ensemble.MEMBERS`, which makes it a member too."""

from __future__ import annotations

from typing import Any

from trainables.discriminators.discriminator import Discriminator, Trunk, in_trunk
from trainables.discriminators.ensemble import MEMBERS, EnsembleDiscriminator
from trainables.registry import Registry

__all__ = ["DISCRIMINATORS", "Discriminator", "Trunk", "in_trunk"]

DISCRIMINATORS: Registry[Any] = Registry("discriminator", {**MEMBERS, "ensemble": EnsembleDiscriminator})
