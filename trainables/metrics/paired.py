"""Metrics of paired tasks, where every output has its target: PSNR, SSIM and LPIPS, computed by torchmetrics.

Outputs and targets are compared as 8-bit RGB, as they would be written to files; a value is the mean over images, so that it does
not depend on batches. The number of images is part of a name: ``psnr[n=500]``, ``ssim[n=500]``, ``lpips[vgg,n=500]``.

A picture's PSNR is at most `PSNR_CAP`. Without a bound one perfect picture would make the mean infinite, whatever the others are
like; holes in a plain background do get there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainables.collective import Collective
from trainables.metrics.embedding import check_finite, together
from trainables.metrics.features import full_precision, quantise
from trainables.registry import Registry, unknown_name

_PATTERN = re.compile(r"(?P<kind>\w+)\[(?:(?P<network>\w+),)?n=(?P<n>\d+)\]", flags=re.ASCII)

PSNR_CAP = 10 * math.log10(12 * 255**2)
"""58.9 dB: mean squared error 1/12 of a squared level, the variance of rounding to 8 bits. Pictures nearer to each other than
either is to what it was rounded from are told apart by nothing."""

# Files of torchvision's weights that LPIPS builds on; its own small layers come with torchmetrics.
LPIPS_FILES = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}

# The same networks by their names as backbones.
LPIPS_NETWORKS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}

Score = Callable[[Tensor, Tensor], Tensor]
"""Outputs and targets, uint8 [N, 3, H, W] → one value for each image [N]."""


class LpipsWeightsNotFoundError(RuntimeError):
    """The network that LPIPS builds on is not here; the message lists every way to get it."""


@dataclass(frozen=True, order=True)
class PairedName:
    """A parsed name of a paired metric; ``str()`` gives it back."""

    kind: str
    network: str  # of lpips; otherwise empty
    n: int

    def __str__(self) -> str:
        return f"{self.kind}[{self.network + ',' if self.network else ''}n={self.n}]"

    @property
    def lower_is_better(self) -> bool:
        return self.kind == "lpips"


def parse_paired(text: str) -> PairedName:
    """Reads ``psnr[n=500]``, ``ssim[n=500]`` or ``lpips[vgg,n=500]``.

    Raises:
        ValueError: malformed or unknown, with the nearest valid name.
    """
    match = _PATTERN.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ValueError(f"a paired metric is written like 'psnr[n=500]' or 'lpips[vgg,n=500]', but got {text!r}")
    kind, network, n = match["kind"], match["network"] or "", int(match["n"])
    PAIRED[kind]
    if n < 1:
        raise ValueError(f"n >= 1 must hold in a metric's name, but got {text!r}")
    if kind == "lpips" and network not in LPIPS_FILES:
        raise ValueError(unknown_name("LPIPS network", network, LPIPS_FILES))
    if kind != "lpips" and network:
        raise ValueError(f"{kind} has no network: write {kind}[n={n}]")
    return PairedName(kind, network, n)


Scores = Mapping[str, tuple[int, Score]]
"""By a metric's name: over how many images it is the mean, and its value for each."""


def paired_scores(metrics: Sequence[str], device: torch.device) -> Scores:
    """The scores of metrics named as in `parse_paired`.

    Raises:
        ValueError: an unknown name, none, or one named twice.
        LpipsWeightsNotFoundError: LPIPS was asked for and its network cannot be had.
    """
    names = [parse_paired(text) for text in metrics]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"metrics must be at least one, each named once, but got {list(metrics)}")
    return {str(name): (name.n, PAIRED[name.kind](name.network, device)) for name in names}


class PairedEvaluator:
    """Computes scores for one model after another. All workers of a collective construct and call it together."""

    def __init__(self, scores: Scores, *, collective: Collective, device: torch.device, batch_size: int = 32) -> None:
        self.scores, self.collective, self.device, self.batch_size = scores, collective, device, batch_size

    @torch.no_grad()
    def __call__(self, restore: Callable[[Tensor], tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Every metric by its name, the same on every worker.

        Args:
            restore: indices, int64 [b] → (outputs, targets), both [b, 3, H, W] in [-1, 1]. Always called with exactly
                ``batch_size`` indices, of which the last may repeat. It must not communicate.

        Raises:
            NotFiniteError: an output holds NaN or infinity (`WorkerFailedError` on other workers).
        """
        largest = max(n for n, _ in self.scores.values())
        own = together(self.collective, lambda: self._own_share(restore, largest))
        values = {name: self.collective.gather_rows(part) for name, part in own.items()}
        return {name: float(values[name][:n].mean()) for name, (n, _) in self.scores.items()}

    def _own_share(self, restore: Callable[[Tensor], tuple[Tensor, Tensor]], total: int) -> dict[str, Tensor]:
        share = self.collective.share(total)
        parts: dict[str, list[Tensor]] = {name: [torch.zeros(0, dtype=torch.float64, device=self.device)] for name in self.scores}
        for indices in torch.arange(share.start, share.stop).split(self.batch_size):
            count = len(indices)
            if not count:
                continue
            outputs, targets = restore(torch.cat([indices, indices[-1:].expand(self.batch_size - count)]))
            check_finite(outputs[:count], indices, "output image")
            with full_precision(self.device):
                for name, (_, score) in self.scores.items():
                    values = score(quantise(outputs.to(self.device)), quantise(targets.to(self.device)))
                    parts[name].append(values[:count].double())
        return {name: torch.cat(part) for name, part in parts.items()}


def _psnr(network: str, device: torch.device) -> Score:
    from torchmetrics.functional.image import peak_signal_noise_ratio

    def score(outputs: Tensor, targets: Tensor) -> Tensor:
        pair = outputs.double(), targets.double()
        return peak_signal_noise_ratio(*pair, data_range=255.0, reduction="none", dim=(1, 2, 3)).double().clamp(max=PSNR_CAP)

    return score


def _ssim(network: str, device: torch.device) -> Score:
    from torchmetrics.functional.image import structural_similarity_index_measure

    def score(outputs: Tensor, targets: Tensor) -> Tensor:
        result = structural_similarity_index_measure(outputs.double(), targets.double(), data_range=255.0, reduction="none")
        assert isinstance(result, Tensor)
        return result.reshape(len(outputs))

    return score


def _lpips(network: str, device: torch.device) -> Score:
    from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

    try:
        # It is built with random weights first, which must not shift the caller's random numbers.
        with torch.random.fork_rng(devices=[]):
            # Not the functional form, which loads the network anew at every call.
            model = LearnedPerceptualImagePatchSimilarity(network, reduction="none").to(device).requires_grad_(False)
    except OSError as error:  # every failed download
        raise LpipsWeightsNotFoundError(_lpips_ways(network, error)) from error

    def score(outputs: Tensor, targets: Tensor) -> Tensor:
        values = model(outputs.float() / 127.5 - 1, targets.float() / 127.5 - 1).reshape(len(outputs))
        model.reset()  # it would keep the values of every batch that it ever saw
        return values

    return score


def _lpips_ways(network: str, error: Exception) -> str:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = LPIPS_FILES[network]
    return (
        f"lpips[{network}] builds on torchvision's {file}, which is not here and cannot be downloaded ({error}). "
        "Ways to get it:\n"
        f"  - put {file} into {folder}, from https://download.pytorch.org/models/{file}\n"
        "  - run once on a machine with internet and the same torch.hub folder\n"
        f"  - or use another network: {', '.join(sorted(set(LPIPS_FILES) - {network}))}; or psnr and ssim, which need none"
    )


PAIRED: Registry[Callable[[str, torch.device], Score]] = Registry(
    "paired metric", {"psnr": _psnr, "ssim": _ssim, "lpips": _lpips}
)
