"""How fast a step is computed, not what: precision, memory layout, compilation, micro-batches."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from trainables.registry import Options

M = TypeVar("M", bound=nn.Module)


class SpeedOptions(Options):
    """What makes a step cheaper. The defaults give the same curve on every machine of a kind."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """In what the networks compute; with "bfloat16" weights, losses and optimizers stay in float32 (autocast)."""
    channels_last: bool = False
    """Whether images and convolutions are laid out channel by channel at each pixel, as tensor cores prefer."""
    compile: bool = False
    """Whether `torch.compile` builds kernels for G and D; the first steps then take minutes."""
    micro_batches: int = Field(1, ge=1)
    """In how many parts a worker's share of a batch is computed, to save memory. What looks at a whole batch (the feature loss,
    be it for its unit alone, and LeCam's averages) then looks at one part."""

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """The context in which networks run."""
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    def lay_out(self, network: M) -> M:
        """``network`` in the memory layout of these options."""
        return network.to(memory_format=torch.channels_last) if self.channels_last else network

    def images(self, x: Tensor) -> Tensor:
        """Images [N, C, H, W] in the memory layout of these options; latents [N, z_dim] as they are."""
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last and x.ndim == 4 else x

    def compiled(self, network: M) -> M:
        """``network``, or what runs in its stead; both share their parameters."""
        return torch.compile(network) if self.compile else network  # type: ignore[return-value]
