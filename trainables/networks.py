"""Building a trial's networks from its configuration: the one place that joins task, generator, discriminator and backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from trainables.backbones import BACKBONES, load_backbone
from trainables.backbones.weights import RANDOM
from trainables.collective import Collective
from trainables.discriminators import DISCRIMINATORS
from trainables.generators import GENERATORS, Frame
from trainables.generators.noise import Noise
from trainables.layers.mapping import Mapping
from trainables.losses.precision import in_float32
from trainables.tasks import TASKS, Task

if TYPE_CHECKING:
    from trainables.config import TrialConfig


_MEAN_STYLE_KEPT = 0.995  # of its mean style in each step, as StyleGAN2-ADA does


def build_task(options: Any, resolution: int) -> Task:
    """The task of these options, for pictures of this side in pixels."""
    return TASKS[options.name](options, resolution)


def frame_of(task: Task) -> Frame:
    """What a generator for this task takes and gives."""
    return Frame(task.resolution, task.in_channels, task.out_channels)


def build_generator(options: Any, task: Task, backbone: str, weights: str = RANDOM) -> nn.Module:
    """A generator as training starts it; with random ``weights``, as a shell for a state dict.

    Args:
        options: of an entry of `GENERATORS`.
        backbone: name of the network that generators with a pretrained part start from.
        weights: as in `load_backbone`.
    """
    generator: nn.Module = GENERATORS[options.name](
        options, frame_of(task), lambda channels: load_backbone(BACKBONES[backbone], weights, channels)
    )
    return generator


def build_discriminator(options: Any, task: Task, backbone: str, weights: str) -> nn.Module:
    """A discriminator as training starts it; arguments as for `build_generator`."""
    discriminator: nn.Module = DISCRIMINATORS[options.name](
        options, lambda channels: load_backbone(BACKBONES[backbone], weights, channels), task.condition_channels, task.resolution
    )
    return discriminator


def uses_backbone(config: TrialConfig) -> bool:
    """Whether G or D of a trial is made of its backbone, or G's loss looks at the backbone's features."""

    class AskedError(Exception):
        pass

    def trunk(channels: int) -> NoReturn:
        raise AskedError

    if config.uses_features:
        return True
    task = build_task(config.task, config.resolution)
    try:
        with torch.device("meta"):
            GENERATORS[config.generator.name](config.generator, frame_of(task), trunk)
            DISCRIMINATORS[config.discriminator.name](config.discriminator, trunk, task.condition_channels, config.resolution)
    except AskedError:
        return True
    return False


def make_pictures(task: Task, network: nn.Module, inputs: Tensor, noise: Noise = "const") -> Tensor:
    """Pictures of a generator, float32 [N, 3, H, W]: from latents [N, z_dim], or conditions [N, in_channels, H, W].

    In [-1, 1]; of generators whose output has no bounds (StyleGAN's), about so.

    Args:
        noise: of generators from latents, see `Noise`.
    """
    output = network(inputs) if task.in_channels else network(inputs, noise=noise)
    # Whatever autocast makes of the network: in half precision a correction of a picture would be coarser than its 256 levels.
    with torch.autocast(inputs.device.type, enabled=False):
        return task.compose(inputs, in_float32(output))


def features_of(generator: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """What a generator's layers (``feature_layers``) make of its inputs in training, [N, C, h, w] each, coarse to fine."""
    found: dict[str, Tensor] = {}
    layers: list[str] = generator.feature_layers  # type: ignore[assignment]

    def keeping(layer: str) -> Any:
        return lambda module, args, output: found.update({layer: output})

    hooks = [generator.get_submodule(layer).register_forward_hook(keeping(layer)) for layer in layers]
    try:
        _ = generator(inputs, noise="random") if z_dim_of(generator) else generator(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


@torch.no_grad()
def follow_spectral_norms(discriminator: nn.Module) -> None:
    """One step of the power iterations that estimate the weights' spectral norms (Miyato et al. 2018, algorithm 1).

    Leaves ``discriminator`` in evaluation mode, in which its forwards move no estimate: else their number, which depends on
    micro-batches and on which regularisers are due, would decide how near the estimates come.
    """
    discriminator.train()
    for module in discriminator.modules():
        if parametrize.is_parametrized(module, "weight"):
            _ = module.weight
    discriminator.eval()


@torch.no_grad()
def follow_mean_style(generator: nn.Module, z: Tensor, collective: Collective) -> None:
    """Moves the mean style of a generator that has one, towards which truncation pulls, to that of this batch's latents.

    Where what makes styles is not trained, their mean stays too.

    Args:
        z: this worker's latents, [N, z_dim].
    """
    mapping = getattr(generator, "mapping", None)
    if not isinstance(mapping, Mapping):
        return
    if any(p.requires_grad for name, p in generator.named_parameters() if name.startswith(("mapping.", "miner."))):
        style = generator.style(z)  # type: ignore[operator]
        mapping.w_avg.lerp_(collective.mean(style.mean(dim=0)), 1 - _MEAN_STYLE_KEPT)


def parameters_of(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters that are trained, by name."""
    return [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]


def z_dim_of(generator: nn.Module) -> int:
    """Length of a generator's latents; 0 where it takes pictures."""
    return int(generator.z_dim)  # type: ignore[arg-type]


def device_of(network: nn.Module) -> torch.device:
    """Where a network lives."""
    return next(network.parameters()).device
