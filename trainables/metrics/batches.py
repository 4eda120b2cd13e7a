"""How many pictures an evaluation makes and embeds at once: values depend on it by rounding alone, time on a GPU by a lot."""

from __future__ import annotations

import torch

ON_CPU = 32  # where more would gain nothing
_MOST = 512
_SHARE = 1 / 8  # of a GPU's memory; networks, optimizers and what training keeps have the rest
_BYTES_OF_A_PIXEL = 1024  # that a StyleGAN's or Inception's activations take without gradients, at most


def evaluation_batch(device: torch.device, side: int, n: int) -> int:
    """A power of two that surely fits, 1 to 512.

    It goes by all the memory of a GPU, not by what happens to be free, and by a metric's n, not by how many workers share it: so
    on one kind of GPU an evaluation that is done again gives the same to the last bit.

    Args:
        side: of the largest pictures that any network sees, in pixels.
        n: how many pictures are made. Batches are filled up, so that a fourth of them should fill one.
    """
    if device.type != "cuda":
        return ON_CPU
    memory = torch.cuda.get_device_properties(device).total_memory
    fits = int(memory * _SHARE / (_BYTES_OF_A_PIXEL * side**2))
    return 1 << max(1, min(fits, n // 4, _MOST)).bit_length() - 1
