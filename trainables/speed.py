"""How fast a step is computed, not what: precision, kernels, memory layout, compilation, micro-batches."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from trainables.registry import Options

M = TypeVar("M", bound=nn.Module)


class SpeedOptions(Options):
    """What makes a step cheaper. On a CPU the defaults give one curve on every machine of a kind; on a GPU `kernels` decides."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """In what the networks compute; with "bfloat16" weights, losses and optimizers stay in float32 (autocast)."""
    kernels: Literal["fast", "exact"] = "fast"
    """Which kernels a GPU takes. "fast": float32 is multiplied as TF32 (10 bits of mantissa) and cuDNN tries which kernel is the
    quickest; a trial that is run again, or resumed, has the same curve up to rounding. "exact": float32 as it is and none but
    deterministic kernels; the same curve bit for bit on one kind of GPU."""
    channels_last: bool = False
    """Whether images and convolutions are laid out channel by channel at each pixel, as tensor cores prefer."""
    compile: bool = False
    """Whether `torch.compile` builds kernels for G and D; the first steps then take minutes."""
    micro_batches: int = Field(1, ge=1)
    """In how many parts a worker's share of a batch is computed, to save memory. What looks at a whole batch (the feature loss,
    be it for its unit alone, and LeCam's averages) then looks at one part."""
    pictures_on_device: float = Field(0.25, ge=0, le=1)
    """Which share of a GPU's free memory the training pictures may take, as bytes, to be put there once; larger sets travel in
    each step's copy. The numbers are the same either way."""

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
        # A graph for each size: which one is taken then depends on no trial before.
        return torch.compile(network, dynamic=False) if self.compile else network  # type: ignore[return-value]


def apply_kernels(options: SpeedOptions) -> None:
    """Puts the process's kernels where ``options.kernels`` says; to be called before a trial's networks are built."""
    exact = options.kernels == "exact"
    # cuBLAS reads it when a process first multiplies, and is then deterministic for all its trials; the fast ones lose nothing.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(exact)
    # With NaN, to find bugs: a pass over every new tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not exact
    torch.backends.cudnn.deterministic = exact
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = not exact


def free_memory(device: torch.device) -> int:
    """Bytes of the device that are free; 0 of a CPU, where nothing need be put."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
