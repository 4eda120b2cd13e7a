"""Path-length regularisation (Karras et al. 2020, StyleGAN2, section 3.2): steps in style move every picture about as far.

How far is the length of J_wᵀ y, the gradient of <G(w), y> in the style w, for a picture y of normal noise over √(H W). As the
paper's code takes it, w is a style for each layer: the length is the root of the mean over layers of the squared norms, so that
a weight means what it means there.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from trainables.collective import Collective
from trainables.layers.keyed_noise import keyed_normal, keys_of
from trainables.losses.generator_step import GeneratorStep
from trainables.losses.precision import in_float32
from trainables.losses.regularisers.base import Regulariser, WeightedOptions

_NOISE = 2**16 + 2  # purpose of y's keyed numbers, beyond those of a generator's own


class PathLengthOptions(WeightedOptions):
    """Options of `PathLength`."""

    name: Literal["path_length"] = "path_length"
    weight: float = Field(2.0, ge=0, allow_inf_nan=False)
    """γ_pl of the paper's code, which takes 2."""
    every: int = Field(4, ge=1)
    """It is added every so many steps, times as much; StyleGAN2 takes 4."""
    decay: float = Field(0.01, gt=0, le=1)
    """How far the average length goes to the present one each time."""
    batch_shrink: int = Field(2, ge=1)
    """One sample of so many is looked at, as it takes more memory than all else; the paper's code takes 2."""


class PathLength(Regulariser[GeneratorStep]):
    """E (||J_wᵀ y|| - a)², a the moving average over steps of the lengths of the whole batch, the present step's included.

    It starts at the first step's: from 0, as in the paper's code, a pretrained generator would be flattened at first.
    """

    Options = PathLengthOptions
    needs_styles = True
    average: Tensor

    def __init__(self, options: PathLengthOptions) -> None:
        super().__init__(options)
        self.register_buffer("average", torch.tensor(-1.0))  # as no length is, until the first step

    def forward(self, step: GeneratorStep, collective: Collective) -> Tensor:
        # Every so many of all workers' samples: whatever the number of workers, the same ones, and about as many for each.
        first = -step.places.start % self.options.batch_shrink
        lengths = path_lengths(step.generator, step.inputs[first :: self.options.batch_shrink])
        total, count = collective.sum(torch.stack([lengths.detach().sum(), lengths.new_full((), len(lengths))]))
        mean, before = total / count, self.average.to(lengths)
        self.average = torch.where(before < 0, mean, torch.lerp(before, mean, self.options.decay))
        return (lengths - self.average).square().sum() * (collective.world_size / count)


def path_lengths(generator: Any, z: Tensor) -> Tensor:
    """Of latents [N, z_dim], [N]; differentiable. In float32, outside autocast, and eager, as `of_gradient`."""
    with torch.autocast(z.device.type, enabled=False), torch.compiler.set_stance("force_eager"):
        styles = generator.styles(z, noise="random")
        styles = styles if styles.requires_grad else styles.requires_grad_()
        keys = keys_of(z)
        pictures = in_float32(generator.pictures(styles, keys))
        y = keyed_normal(keys, _NOISE, pictures[0].numel() if len(z) else 0).to(pictures).view_as(pictures)
        score = (pictures * y).sum() / math.sqrt(pictures.shape[-2] * pictures.shape[-1])
        (gradient,) = torch.autograd.grad(score, styles, create_graph=True)
        # vector_norm, unlike a square root, has a gradient (0) at 0.
        return torch.linalg.vector_norm(gradient.flatten(1), dim=1) / math.sqrt(styles.shape[1])
