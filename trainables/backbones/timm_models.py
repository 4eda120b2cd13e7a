"""Any of timm's networks that is a convolution pyramid, as ``timm/NAME``, with the weights timm publishes for it."""

from __future__ import annotations

import functools

from torch import Tensor, nn

from trainables.backbones.backbone import BackboneInfo
from trainables.backbones.chain import plan_stages
from trainables.registry import nearest_names


@functools.cache
def timm_network(name: str) -> BackboneInfo:
    """timm's ``name``, where a pretrained tag may follow: ``resnet26`` or ``resnet26.bt_in1k``.

    Raises:
        ValueError: timm has no such network, naming the nearest; or it is no pyramid.
    """
    import timm

    known = {*timm.list_models(), *timm.list_models(pretrained=True)}
    if name not in known:
        raise ValueError(f"unknown timm network {name!r}; the nearest: {nearest_names(name, known)}")
    full_name = f"timm/{name}"
    plan = plan_stages(full_name, functools.partial(_build, name))
    published = timm.get_pretrained_cfg(name)
    in_timms_form = (published.hf_hub_id or "").startswith("timm/") and not published.hf_hub_filename
    return BackboneInfo(
        name=full_name,
        layers=plan.layers,
        mean=published.mean,
        std=published.std,
        stages=plan.cut,
        build=functools.partial(_build, name),
        download=functools.partial(timm_download, name) if published.has_weights else None,
        hub_repo=published.hf_hub_id if in_timms_form else "",
    )


def timm_download(name: str) -> dict[str, Tensor]:
    """The tensors of timm's pretrained ``name``, from its hub or the hub's cache."""
    import timm

    return timm.create_model(name, pretrained=True).state_dict()


def _build(name: str) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False)
