"""Style as Gram matrices of features (Gatys et al. 2016; Johnson et al. 2016, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainables.losses.precision import in_float32

_TINY = 1e-16  # keeps a dead layer's Gram matrix from dividing by 0


def gram_matrices(maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """F Fᵀ / (C·h·w) of each sample: by layer, [N, C, h, w] features → [N, C, C].

    The target of a style is the mean over its pictures: ``{layer: gram.mean(0) for layer, gram in gram_matrices(maps).items()}``.
    """
    grams = {}
    for layer, x in maps.items():
        with torch.autocast(x.device.type, enabled=False):
            rows = in_float32(x).flatten(2)
            grams[layer] = rows @ rows.mT / (rows.shape[1] * rows.shape[2])
    return grams


def gram_distance(fake_maps: Mapping[str, Tensor], style_grams: Mapping[str, Tensor]) -> Tensor:
    """Σ_layers E_n ||G_n - A||_F² / ||A||_F², a scalar >= 0; without the division, the papers' own.

    Divided by the style's own scale, a layer counts the same whatever the scale and number of its features.

    Args:
        fake_maps: features of generated images by layer, [N, C, h, w]; every layer of ``style_grams`` must be there.
        style_grams: the style's mean Gram matrix by layer, [C, C], without gradient.
    """
    grams = gram_matrices({layer: fake_maps[layer] for layer in style_grams})
    terms = [
        (grams[layer] - target).square().sum(dim=(1, 2)).mean() / (target.square().sum() + _TINY)
        for layer, target in style_grams.items()
    ]
    return torch.stack(terms).sum()
