"""The gradient of D in its input, itself differentiable: what R1, R2 and the gradient penalty are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainables.losses.precision import in_float32


def input_gradient(logits: Callable[[Tensor], list[Tensor]], images: Tensor) -> Tensor:
    """∇ₓ D(x) at each of the images [N, C, H, W], flat: [N, C·H·W].

    D(x) is the mean over positions and heads of a sample's logits, as in the adversarial losses. In float32, outside autocast
    (the square of a gradient leaves the range of half precision), and eager: second derivatives do not go through
    ``torch.compile`` (pytorch#91469).
    """
    images = in_float32(images).detach().requires_grad_()
    with torch.autocast(images.device.type, enabled=False), torch.compiler.set_stance("force_eager"):
        score = torch.stack([in_float32(x).reshape(len(images), -1).mean(1) for x in logits(images)]).mean(0)
        (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    return gradient.flatten(1)
