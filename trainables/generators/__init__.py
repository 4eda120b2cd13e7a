"""Generators by name. A new one is a file and one line here."""

from __future__ import annotations

from typing import Any

from trainables.generators.compact import CompactGenerator
from trainables.generators.encoder_decoder import EncoderDecoderGenerator
from trainables.generators.frame import Frame, Trunk
from trainables.generators.inverted_trunk import InvertedTrunkGenerator
from trainables.generators.stylegan2 import StyleGan2Generator
from trainables.generators.stylegan3 import StyleGan3Generator
from trainables.generators.unet import UnetGenerator
from trainables.registry import Registry

__all__ = ["GENERATORS", "Frame", "Trunk"]

GENERATORS: Registry[Any] = Registry(
    "generator",
    {
        "compact": CompactGenerator,
        "stylegan2": StyleGan2Generator,
        "stylegan3": StyleGan3Generator,
        "inverted_trunk": InvertedTrunkGenerator,
        "encoder_decoder": EncoderDecoderGenerator,
        "unet": UnetGenerator,
    },
)
