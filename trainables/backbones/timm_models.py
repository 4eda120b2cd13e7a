"""Any of timm's convolution pyramids, and its plain and Swin transformers, as ``timm/NAME``, with the weights timm publishes."""

from __future__ import annotations

import functools

from torch import Tensor, nn

from trainables.backbones.backbone import BackboneInfo
from trainables.backbones.chain import Plan, plan_stages
from trainables.backbones.transformers import TransformerPlan, build_transformer, is_transformer, plan_transformer
from trainables.registry import nearest_names


@functools.cache
def timm_network(name: str) -> BackboneInfo:
    """timm's ``name``, where a pretrained tag may follow: ``resnet26`` or ``resnet26.bt_in1k``.

    Raises:
        ValueError: timm has no such network, naming the nearest; or it is neither.
    """
    import timm

    known = {*timm.list_models(), *timm.list_models(pretrained=True)}
    if name not in known:
        raise ValueError(f"unknown timm network {name!r}; the nearest: {nearest_names(name, known)}")
    full_name = f"timm/{name}"
    plan: Plan | TransformerPlan
    if is_transformer(name):
        build, plan = functools.partial(build_transformer, name), plan_transformer(name)
    else:
        build = functools.partial(_build, name)
        plan = plan_stages(full_name, build)
    published = timm.get_pretrained_cfg(name)
    in_timms_form = (published.hf_hub_id or "").startswith("timm/") and not published.hf_hub_filename
    return BackboneInfo(
        name=full_name,
        layers=plan.layers,
        mean=published.mean,
        std=published.std,
        stages=plan.cut,
        build=build,
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
