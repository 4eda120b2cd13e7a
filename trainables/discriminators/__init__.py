"""Discriminators by name. A new one is a file and one line here."""

from __future__ import annotations

from typing import Any

from trainables.discriminators.projected import ProjectedDiscriminator
from trainables.discriminators.trunk import TrunkDiscriminator
from trainables.registry import Registry

DISCRIMINATORS: Registry[Any] = Registry("discriminator", {"trunk": TrunkDiscriminator, "projected": ProjectedDiscriminator})
