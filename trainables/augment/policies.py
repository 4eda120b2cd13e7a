"""The policies of differentiable augmentation by name. A new one is a file and one line here."""

from __future__ import annotations

from trainables.augment import ada_blit, ada_color, ada_cutout, ada_filter, ada_geometric, ada_noise, diff_augment
from trainables.augment.policy import Policy
from trainables.registry import Registry

POLICIES: Registry[Policy] = Registry(
    "augmentation",
    {
        "color": diff_augment.COLOR,
        "translation": diff_augment.TRANSLATION,
        "cutout": diff_augment.CUTOUT,
        "flip": diff_augment.FLIP,
        "ada_blit": ada_blit.POLICY,
        "ada_geometric": ada_geometric.POLICY,
        "ada_color": ada_color.POLICY,
        "ada_filter": ada_filter.POLICY,
        "ada_noise": ada_noise.POLICY,
        "ada_cutout": ada_cutout.POLICY,
    },
)
_ADA = ("ada_blit", "ada_geometric", "ada_color", "ada_filter", "ada_noise", "ada_cutout")
# By their names in StyleGAN2-ADA, whose letters stand for the first ones of its pipeline.
PIPELINES: Registry[tuple[str, ...]] = Registry(
    "pipeline of augmentations", {name: _ADA[: len(name)] for name in ("bg", "bgc", "bgcf", "bgcfn", "bgcfnc")}
)
