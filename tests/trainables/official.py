"""The official StyleGAN networks' own numbers, and ours built to match: see truth/README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.discriminators import stylegan2 as discriminator
from trainables.generators.frame import Frame
from trainables.generators.stylegan2 import StyleGan2Generator, StyleGan2Options
from trainables.generators.stylegan3 import StyleGan3Generator, StyleGan3Options

_FOLDER = Path(__file__).parent / "truth"


class Truth:
    """One file of numbers."""

    def __init__(self, name: str) -> None:
        with np.load(_FOLDER / f"{name}.npz") as file:
            arrays = {key: file[key] for key in file.files}
        self.kwargs: dict[str, Any] = json.loads(str(arrays.pop("kwargs")))
        self.tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}

    def __getitem__(self, key: str) -> Tensor:
        return self.tensors[key]

    def state(self, network: str, without: str = " ") -> dict[str, Tensor]:
        """The state dict of "G" or "D"; ``without`` what has that in its name."""
        prefix = f"{network}."
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix) and without not in k}

    def stylegan2(self) -> StyleGan2Generator:
        g = self.kwargs["G"]
        shape = {key: g["synthesis_kwargs"][key] for key in ("channel_base", "channel_max")}
        layers = g["mapping_kwargs"]["num_layers"]
        options = StyleGan2Options(z_dim=g["z_dim"], w_dim=g["w_dim"], c_dim=g["c_dim"], mapping_layers=layers, **shape)
        # The filter is the same everywhere and a constant here.
        return _loaded(StyleGan2Generator(options, Frame(g["img_resolution"]), None), self.state("G", "resample_filter"))  # type: ignore[arg-type]

    def stylegan2_discriminator(self) -> discriminator.StyleGan2Discriminator:
        d = self.kwargs["D"]
        options = discriminator.StyleGan2Options(**{key: d[key] for key in ("c_dim", "channel_base", "channel_max")})
        network = discriminator.StyleGan2Discriminator(options, None, 0, d["img_resolution"])  # type: ignore[arg-type]
        return _loaded(network, self.state("D", "resample_filter"))

    def stylegan3(self) -> StyleGan3Generator:
        """Not loaded: with the filters of its constructor."""
        g = self.kwargs["G"]
        same = {key: g[key] for key in StyleGan3Options.model_fields if key in g}
        options = StyleGan3Options(mapping_layers=g["mapping_kwargs"]["num_layers"], **same)
        return StyleGan3Generator(options, Frame(g["img_resolution"]), None)  # type: ignore[arg-type]


def _loaded(network: Any, state: dict[str, Tensor]) -> Any:
    assert isinstance(network, nn.Module)
    network.load_state_dict(state)
    return network


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """The largest difference over the largest value."""
    assert got.shape == wanted.shape
    return float((got.detach() - wanted).abs().max() / wanted.abs().max())
