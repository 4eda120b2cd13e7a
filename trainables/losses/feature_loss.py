"""The feature distance L_FD = Σ_i w_i d(F_i(G), F_i(x)) on the layers of a pretrained network, in one of four forms.

The documents' own form, per sample, is `paired`. When z and x do not belong together its optimum is the mean feature, so noise →
image compares distributions instead: `moments` (the default), `covariance` or `nearest`. Every form divides a layer's distance by
the real features' spread, so that the same λ means the same for every layer and backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import torch
from pydantic import Field, model_validator
from torch import Tensor

from trainables.collective import Collective
from trainables.losses.feature_forms import EUCLIDEAN_FORMS, FEATURE_DISTANCES, FEATURE_FORMS
from trainables.losses.precision import in_float32
from trainables.registry import Options, names_of

if TYPE_CHECKING:  # the members of these types are the registries' entries, which only run time knows
    FormName: TypeAlias = str
    DistanceName: TypeAlias = str
else:
    FormName, DistanceName = names_of(FEATURE_FORMS), names_of(FEATURE_DISTANCES)


class FeatureLossOptions(Options):
    """Which features are matched, in which form and how strongly."""

    layers: tuple[str, ...] = ()
    """Layers of the backbone (`Backbone.info.layer_names`); none turns the loss off."""
    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    """λ in L = L_adv + λ L_FD."""
    input_px: int | None = Field(None, ge=8)
    """Side to which images are resized for the backbone (bilinear); None leaves them as they are."""
    form: FormName = "moments"
    """What is compared: "moments", "covariance" and "nearest" for unpaired images, "paired" sample by sample."""
    distance: DistanceName = "euclidean"
    """How two feature vectors are compared by the forms "paired" and "nearest"."""
    layer_weights: tuple[float, ...] | None = None
    """w_i, one for each of ``layers``; None gives each 1."""
    style_layers: tuple[str, ...] = ()
    """Layers whose Gram matrices are matched to those of the style pictures; none turns that off."""
    style_weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Weight of the distance of Gram matrices."""

    @model_validator(mode="after")
    def _fit_together(self) -> FeatureLossOptions:
        problems = []
        if self.layer_weights is not None:
            if len(self.layer_weights) != len(self.layers):
                problems.append(f"layer_weights must be as many as layers, {len(self.layers)}, but got {len(self.layer_weights)}")
            if not all(0 <= w < float("inf") for w in self.layer_weights):
                problems.append(f"layer_weights must be finite and >= 0, but got {self.layer_weights}")
        if self.form in EUCLIDEAN_FORMS and self.distance != "euclidean":
            others = ", ".join(sorted(set(FEATURE_FORMS) - set(EUCLIDEAN_FORMS)))
            problems.append(f"distance {self.distance!r} is for the forms {others}; form {self.form!r} is always 'euclidean'")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def feature_loss(
    fake: Mapping[str, Tensor], real: Mapping[str, Tensor], options: FeatureLossOptions, collective: Collective
) -> Tensor:
    """Σ over ``options.layers`` of weighted distances, a scalar >= 0 without λ, whose mean over workers is the global batch's.

    Args:
        fake: features of this worker's generated images by layer, [N, C, h, w].
        real: the same of its real images, without gradient: computed once, they serve any number of calls.
        options: form, distance, layers and their weights.
        collective: the workers that share the batch.

    Raises:
        ValueError: the features cannot be compared in this form (see it).
    """
    assert options.layers, "without layers there is no feature loss"
    form, distance = FEATURE_FORMS[options.form], FEATURE_DISTANCES[options.distance]
    weights = options.layer_weights or (1.0,) * len(options.layers)
    with torch.autocast(fake[options.layers[0]].device.type, enabled=False):
        made, wanted = (
            [in_float32(fake[layer]) for layer in options.layers],
            [in_float32(real[x]).detach() for x in options.layers],
        )
        apart = form(made, wanted, distance, collective)
    return torch.stack([weight * x for weight, x in zip(weights, apart, strict=True)]).sum()
