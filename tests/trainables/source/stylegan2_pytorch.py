"""What rosinality's stylegan2-pytorch computes, written out from its description: one sample at a time, a kernel for each."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE, STYLE, LAYERS = 32, 12, 3
WIDTHS = {4: 8, 8: 8, 16: 8, 32: 4}
TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0])
KERNEL = torch.outer(TAPS, TAPS) / TAPS.sum() ** 2
State = dict[str, Tensor]


def generator_state(seed: int) -> State:
    """A state dict with the names and shapes of its generator."""
    numbers = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=numbers)

    def modulated(name: str, before: int, after: int, size: int) -> State:
        return {
            f"{name}.weight": random(1, after, before, size, size),
            f"{name}.modulation.weight": random(before, STYLE),
            f"{name}.modulation.bias": random(before) + 1,
        }

    def styled(name: str, before: int, after: int) -> State:
        own = {f"{name}.noise.weight": random(1), f"{name}.activate.bias": random(after)}
        return modulated(f"{name}.conv", before, after, 3) | own

    def to_rgb(name: str, width: int) -> State:
        return modulated(f"{name}.conv", width, 3, 1) | {f"{name}.bias": random(1, 3, 1, 1)}

    state = {"input.input": random(1, WIDTHS[4], 4, 4), "noises.noise_0": random(1, 1, 4, 4)}
    for layer in range(1, LAYERS + 1):
        state |= {f"style.{layer}.weight": random(STYLE, STYLE) * 100, f"style.{layer}.bias": random(STYLE) * 10}
    state |= styled("conv1", WIDTHS[4], WIDTHS[4]) | to_rgb("to_rgb1", WIDTHS[4])
    for index, size in enumerate((8, 16, 32)):
        before, after = WIDTHS[size // 2], WIDTHS[size]
        state |= styled(f"convs.{2 * index}", before, after) | styled(f"convs.{2 * index + 1}", after, after)
        state |= to_rgb(f"to_rgbs.{index}", after)
        state |= {f"noises.noise_{2 * index + which}": random(1, 1, size, size) for which in (1, 2)}
        state |= {f"convs.{2 * index}.conv.blur.kernel": KERNEL * 4, f"to_rgbs.{index}.upsample.kernel": KERNEL * 4}
    return state


def discriminator_state(seed: int) -> State:
    """A state dict with the names and shapes of its discriminator."""
    numbers = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=numbers)

    state = {"convs.0.0.weight": random(WIDTHS[SIZE], 3, 1, 1), "convs.0.1.bias": random(WIDTHS[SIZE])}
    for index, size in enumerate((32, 16, 8), 1):
        before, after, name = WIDTHS[size], WIDTHS[size // 2], f"convs.{index}"
        state |= {
            f"{name}.conv1.0.weight": random(before, before, 3, 3),
            f"{name}.conv1.1.bias": random(before),
            f"{name}.conv2.0.kernel": KERNEL.clone(),
            f"{name}.conv2.1.weight": random(after, before, 3, 3),
            f"{name}.conv2.2.bias": random(after),
            f"{name}.skip.0.kernel": KERNEL.clone(),
            f"{name}.skip.1.weight": random(after, before, 1, 1),
        }
    last = WIDTHS[4]
    return state | {
        "final_conv.0.weight": random(last, last + 1, 3, 3),
        "final_conv.1.bias": random(last),
        "final_linear.0.weight": random(last, last * 16),
        "final_linear.0.bias": random(last),
        "final_linear.1.weight": random(1, last),
        "final_linear.1.bias": random(1),
    }


def activated(x: Tensor, bias: Tensor) -> Tensor:
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return F.leaky_relu(x + bias.view(shape), 0.2) * math.sqrt(2)


def filtered(x: Tensor, kernel: Tensor, up: int, pad: tuple[int, int]) -> Tensor:
    """Zeros between the pixels, padding, and the filter."""
    count, channels, height, width = x.shape
    spread = torch.zeros(count, channels, height * up, width * up)
    spread[:, :, ::up, ::up] = x
    spread = F.pad(spread, (*pad, *pad))
    return F.conv2d(spread.flatten(0, 1)[:, None], kernel.flip(0, 1)[None, None]).view(count, channels, *(_side(spread),) * 2)


def _side(x: Tensor) -> int:
    return x.shape[-1] - 3


def mapped(state: State, z: Tensor) -> Tensor:
    """The style of latents."""
    x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
    for layer in range(1, LAYERS + 1):
        x = F.linear(x, state[f"style.{layer}.weight"] * (0.01 / math.sqrt(STYLE)))
        x = activated(x, state[f"style.{layer}.bias"] * 0.01)
    return x


def modulated(state: State, name: str, x: Tensor, w: Tensor, demodulate: bool = True, up: bool = False) -> Tensor:
    """A modulated convolution of one sample."""
    weight, modulation = state[f"{name}.weight"][0], state[f"{name}.modulation.weight"] / math.sqrt(STYLE)
    style = modulation @ w + state[f"{name}.modulation.bias"]
    kernel = weight / math.sqrt(weight[0].numel()) * style[None, :, None, None]
    if demodulate:
        kernel = kernel * torch.rsqrt(kernel.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
    if not up:
        return F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
    return filtered(F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2), state[f"{name}.blur.kernel"], 1, (1, 1))


def styled(state: State, name: str, x: Tensor, w: Tensor, noise: int, up: bool = False) -> Tensor:
    x = modulated(state, f"{name}.conv", x, w, up=up)
    return activated(x + state[f"{name}.noise.weight"] * state[f"noises.noise_{noise}"], state[f"{name}.activate.bias"])


def pictures(state: State, z: Tensor, truncation: float = 1.0, mean: Tensor | None = None) -> Tensor:
    """What its generator makes of latents [N, STYLE], with the noise that it has stored."""
    styles = mapped(state, z)
    styles = styles if mean is None else mean + truncation * (styles - mean)
    made = []
    for w in styles:
        x = styled(state, "conv1", state["input.input"], w, 0)
        image = modulated(state, "to_rgb1.conv", x, w, demodulate=False) + state["to_rgb1.bias"]
        for index in range(3):
            x = styled(state, f"convs.{2 * index}", x, w, 2 * index + 1, up=True)
            x = styled(state, f"convs.{2 * index + 1}", x, w, 2 * index + 2)
            rgb = modulated(state, f"to_rgbs.{index}.conv", x, w, demodulate=False) + state[f"to_rgbs.{index}.bias"]
            image = rgb + filtered(image, state[f"to_rgbs.{index}.upsample.kernel"], 2, (2, 1))
        made.append(image)
    return torch.cat(made)


def logits(state: State, images: Tensor) -> Tensor:
    """What its discriminator says of images, whose groups of four are every second one of eight."""

    def conv(name: str, x: Tensor, **how: int) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight / math.sqrt(weight[0].numel()), **how)

    x = activated(conv("convs.0.0", images), state["convs.0.1.bias"])
    for index in range(1, 4):
        name = f"convs.{index}"
        y = activated(conv(f"{name}.conv1.0", x, padding=1), state[f"{name}.conv1.1.bias"])
        y = filtered(y, state[f"{name}.conv2.0.kernel"], 1, (2, 2))
        y = activated(conv(f"{name}.conv2.1", y, stride=2), state[f"{name}.conv2.2.bias"])
        skip = conv(f"{name}.skip.1", filtered(x, state[f"{name}.skip.0.kernel"], 1, (1, 1)), stride=2)
        x = (y + skip) / math.sqrt(2)
    groups = x.view(4, -1, *x.shape[1:])
    deviation = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    x = torch.cat([x, deviation.repeat(4)[:, None, None, None].expand(-1, 1, 4, 4)], dim=1)
    x = activated(conv("final_conv.0", x, padding=1), state["final_conv.1.bias"]).flatten(1)
    for name, last in (("final_linear.0", False), ("final_linear.1", True)):
        x = F.linear(x, state[f"{name}.weight"] / math.sqrt(x.shape[1]))
        x = x + state[f"{name}.bias"] if last else activated(x, state[f"{name}.bias"])
    return x
