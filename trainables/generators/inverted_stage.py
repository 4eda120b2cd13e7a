"""A stage of a pretrained classifier turned round: from its output's features back to its input's.

Each convolution becomes the transposed convolution with the same kernel, the adjoint of its linear part, which is how
Zeiler & Fergus (2014) project features back towards the image; what halves the resolution becomes a doubling. Built for the
modules of torchvision's VGG and ResNet families.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.generators.layers import Modulation, pixel_norm
from trainables.layers.own_dtype import nearest

Origin = Literal["copied", "adapted"]


class InvertedConv(nn.Module):
    """[N, C_out, h, w] → [N, C_in, s·h, s·w] for a convolution C_in → C_out of stride s.

    The kernel is the convolution's own, in which "in" and "out" change their meaning; a BatchNorm after it is folded in. The
    stride becomes nearest-neighbour doubling before the kernel: a transposed convolution with a stride would draw a checkerboard
    (Odena et al. 2016).
    """

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d | None, style_dim: int) -> None:
        super().__init__()
        self.modulation = Modulation(convolution.out_channels, style_dim)
        self.upsampling = _side(convolution.stride)
        self.convolution = nn.ConvTranspose2d(
            convolution.out_channels,
            convolution.in_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            padding=_side(convolution.padding),
            groups=convolution.groups,
        )
        weight = convolution.weight.detach()
        self.origin: Origin = "copied"
        if norm is not None:
            assert norm.running_var is not None
            scale = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
            weight = weight * scale.view(-1, 1, 1, 1)
            self.origin = "adapted"
        with torch.no_grad():
            self.convolution.weight.copy_(weight)
        nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = F.leaky_relu(self.modulation(pixel_norm(x), style), 0.2)
        return self.convolution(nearest(x, self.upsampling))


class InvertedBlock(nn.Module):
    """A residual block turned round: its convolutions in reverse, beside the shortcut in reverse."""

    def __init__(self, block: Any, style_dim: int) -> None:
        super().__init__()
        convolutions = [(getattr(block, f"conv{i}"), getattr(block, f"bn{i}")) for i in (3, 2, 1) if hasattr(block, f"conv{i}")]
        self.chain = nn.ModuleList(InvertedConv(convolution, norm, style_dim) for convolution, norm in convolutions)
        self.shortcut = None if block.downsample is None else InvertedConv(block.downsample[0], block.downsample[1], style_dim)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = y = pixel_norm(x)
        for convolution in self.chain:
            y = convolution(y, style)
        return y + (x if self.shortcut is None else self.shortcut(x, style))


class Enlargement(nn.Module):
    """A pooling turned round: each pixel becomes a square of them."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return nearest(x, self.factor)


class InvertedStage(nn.Module):
    """[N, C_i, h, w] features after a stage → [N, C_{i-1}, H, W] features before it.

    Args:
        stage: a stage of a VGG or a ResNet of torchvision, or one made of the same modules.
        style_dim: length of the style that modulates every convolution.

    Raises:
        ValueError: the stage holds a module that cannot be turned round.
    """

    def __init__(self, stage: nn.Module, style_dim: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(reversed(_inverted(stage, style_dim)))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x, style)
        return x


def _inverted(stage: nn.Module, style_dim: int) -> list[nn.Module]:
    """The inverses of the modules of ``stage``, in the order of the modules."""
    modules = list(_flat(stage))
    parts: list[nn.Module] = []
    for module, following in zip(modules, [*modules[1:], None], strict=True):
        if isinstance(module, nn.Conv2d):
            parts.append(InvertedConv(module, following if isinstance(following, nn.BatchNorm2d) else None, style_dim))
        elif isinstance(module, nn.MaxPool2d):
            parts.append(Enlargement(_side(module.stride)))
        elif _is_residual_block(module):
            parts.append(InvertedBlock(module, style_dim))
        elif not isinstance(module, (nn.BatchNorm2d, nn.ReLU)):
            rule = "a trunk that is turned round must be made of the modules of torchvision's VGG and ResNet"
            raise ValueError(f"{rule}, but got {type(module).__name__}")
    return parts


def _flat(module: nn.Module) -> list[nn.Module]:
    return [leaf for child in module for leaf in _flat(child)] if isinstance(module, nn.Sequential) else [module]


def _is_residual_block(module: nn.Module) -> bool:
    """A BasicBlock or Bottleneck of torchvision: their convolutions are all that they hold beside norms and one activation."""
    children = {name.rstrip("123") for name, _ in module.named_children()}
    return {"conv", "bn", "relu"} <= children <= {"conv", "bn", "relu", "downsample"}


def _side(size: Any) -> int:
    return size if isinstance(size, int) else size[0]
