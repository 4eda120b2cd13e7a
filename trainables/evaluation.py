"""A trial's pictures and how it is judged by them, whatever its task: one place for workers, finalists and calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables.backbones import BACKBONES, load_backbone
from trainables.batches import Images
from trainables.collective import Collective
from trainables.data import DataOptions, ImageDataset, NativeDataset, load_dataset
from trainables.metrics import AnyMetric, Evaluator, MetricName, parse_any_metric
from trainables.metrics.artfid import ArtFidName, ContentDistance
from trainables.metrics.batches import evaluation_batch
from trainables.metrics.paired import PairedEvaluator, PairedName, paired_scores
from trainables.randomness import indexed_noise, sample_keys
from trainables.tasks import Task, split

Sample = Callable[[Tensor], Tensor]
"""G's inputs, latents [N, z_dim] or conditions [N, C, H, W] → pictures [N, 3, H, W] in [-1, 1]."""


@dataclass(frozen=True)
class Subset:
    """Some pictures of a data set, with their mirror images where it has them."""

    dataset: ImageDataset | NativeDataset
    rows: Tensor  # int64 [n], increasing

    def __len__(self) -> int:
        return len(self.rows) * (2 if self.dataset.mirror else 1)

    @property
    def native(self) -> bool:
        """Whether it gives crops, at places that follow from keys."""
        return self.dataset.native

    def pixels(self, indices: Tensor, keys: Tensor | None = None) -> Tensor:
        """As that of the data set, of the subset's own indices."""
        own = self._whole(indices)
        return self.dataset.pixels(own, keys) if isinstance(self.dataset, NativeDataset) else self.dataset.pixels(own)

    def batch(self, indices: Tensor, keys: Tensor | None = None) -> Tensor:
        """`pixels` as float32 in [-1, 1]."""
        return self.pixels(indices, keys).float().div_(127.5).sub_(1.0)

    def _whole(self, indices: Tensor) -> Tensor:
        """The indices in the data set."""
        count = len(self.rows)
        return self.rows[indices % count] + indices // count * self.dataset.count


@dataclass(frozen=True)
class Pictures:
    """What one sweep's trials train on and are judged by."""

    train: Images
    held_out: Images  # whose restorations are judged; the training pictures where G starts from noise
    reference: ImageDataset | NativeDataset  # what metrics of sets compare with
    style: ImageDataset | NativeDataset | None


def load_pictures(task: Any, data: DataOptions, cache_dir: str) -> Pictures:
    """The pictures of a sweep from the packed cache, split as the task's options say.

    Raises:
        DataError, OSError: as `load_dataset`.
    """
    folder = Path(cache_dir).expanduser()
    dataset = load_dataset(data, folder)
    style = getattr(task, "style", None)
    if style is not None:
        options = data.model_copy(update={"path": style, "include": task.style_include})
        pictures = load_dataset(options, folder)
        return Pictures(dataset, dataset, pictures, pictures)
    held_out = getattr(task, "held_out", None)
    if held_out is None:
        return Pictures(dataset, dataset, dataset, None)
    rows, kept = split(dataset.count, held_out)
    return Pictures(Subset(dataset, rows), Subset(replace(dataset, mirror=False), kept), dataset, None)


class FixedInputs:
    """The inputs that all trials of all sweeps of a task are judged and shown by.

    Args:
        task: of every trial.
        z_dim: length of G's latents; 0 where it takes pictures.
        device: where the inputs are wanted.
    """

    def __init__(self, task: Task, pictures: Pictures, z_dim: int, device: torch.device) -> None:
        self.task, self.pictures, self.z_dim, self.device = task, pictures, z_dim, device

    def __call__(self, indices: Tensor, purpose: str = "evaluation") -> tuple[Tensor, Tensor]:
        """G's inputs number ``indices`` of the endless sequence for ``purpose``, and their targets (none for latents)."""
        if self.task.in_channels == 0:
            return indexed_noise(indices, self.z_dim, 0, purpose).to(self.device), torch.empty(0)
        held_out = self.pictures.held_out
        numbers = indices % len(held_out)
        if isinstance(held_out, Subset | NativeDataset) and held_out.native:  # beyond their number, other crops of the same
            targets = held_out.batch(numbers, keys=sample_keys(indices, 0, purpose, "crop")).to(self.device)
        else:
            targets = held_out.batch(numbers).to(self.device)
        return self.task.degrade(targets, sample_keys(indices.to(self.device), 0, purpose)), targets

    def preview(self, sample: Sample, count: int) -> tuple[Tensor, int]:
        """Pictures [N, 3, R, R] to look at, and in how many columns: samples; or rows of input, output and target.

        Args:
            count: of samples; where G restores pictures, of those that are held out at most.
        """
        if self.task.in_channels:
            count = min(count, len(self.pictures.held_out))
        inputs, targets = self(torch.arange(count), "preview")
        outputs = sample(inputs).cpu()
        if self.task.in_channels == 0:
            return outputs, max(1, round(count**0.5))
        shown = [self.task.show(inputs).cpu(), outputs, *([targets.cpu()] if self.task.paired else [])]
        groups = max(1, round((count / len(shown)) ** 0.5))
        return torch.stack(shown, dim=1).flatten(0, 1), groups * len(shown)


class TrialEvaluator:
    """Computes the same metrics for one generator after another. All workers of a collective build and call it together.

    Args:
        metrics: full names, of sets (``fid[...]``) or, where G restores pictures, of pairs (``psnr[...]``).
        inputs: what generators are judged by.
        cache_dir: where statistics of the reference pictures are kept.

    Raises:
        ValueError: an unknown metric, or one that compares pairs for a task that has none.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        inputs: FixedInputs,
        *,
        cache_dir: str,
        collective: Collective,
    ) -> None:
        self.names: list[AnyMetric] = [parse_any_metric(name) for name in metrics]
        self.inputs, task, reference = inputs, inputs.task, inputs.pictures.reference
        arts = [name for name in self.names if isinstance(name, ArtFidName)]
        sets = [name for name in self.names if isinstance(name, MetricName)] + [art.fid for art in arts]
        side, fewest = max([task.resolution, *(name.size_px for name in sets)]), min(name.n for name in self.names)
        batch_size = evaluation_batch(inputs.device, side, fewest)
        # What a guard looks at, in a space whose features are computed anyway.
        self._diversity = [replace(name, kind="diversity") for name in sets[:1]]
        self._sets, self._pairs, self._contents = None, None, {}
        if sets:
            self._sets = Evaluator(
                list(dict.fromkeys(map(str, [*sets, *self._diversity]))),
                reference.real_images,
                reference.content_hash,
                load_backbone=_frozen,
                cache_dir=Path(cache_dir).expanduser(),
                collective=collective,
                device=inputs.device,
                batch_size=batch_size,
            )
        paired = [str(name) for name in self.names if isinstance(name, PairedName)]
        if paired and not task.paired:
            raise ValueError(f"{paired[0]} needs a target for each picture, which the task {task.options.name!r} has not")
        if arts and task.in_channels == 0:
            raise ValueError(f"{arts[0]} needs a content for each picture, which the task {task.options.name!r} has not")
        pairwise = partial(PairedEvaluator, collective=collective, device=inputs.device, batch_size=batch_size)
        if paired:
            self._pairs = pairwise(paired_scores(paired, inputs.device))
        for art in arts:
            self._contents[art] = pairwise({f"content of {art}": (art.n, ContentDistance(art, _frozen, inputs.device))})

    @property
    def asked(self) -> list[str]:
        """The full names of the metrics that were asked for."""
        return [str(name) for name in self.names]

    def __call__(self, sample: Sample) -> dict[str, float]:
        """Every metric by its full name, and ``diversity[...]`` where features are at hand; the same on every worker.

        Raises:
            NotFiniteError: a picture holds NaN or infinity (`WorkerFailedError` on other workers).
        """

        def pair(indices: Tensor) -> tuple[Tensor, Tensor]:
            inputs, targets = self.inputs(indices)
            return sample(inputs), targets

        values: dict[str, float] = {}
        if self._sets is not None:
            values |= self._sets(lambda indices: pair(indices)[0])
        if self._pairs is not None:
            values |= self._pairs(pair)
        for art, content in self._contents.items():
            (distance,) = content(pair).values()
            values[str(art)] = art.value(distance, values[str(art.fid)])
        return values

    def diversity(self, values: dict[str, float]) -> float | None:
        """The diversity among ``values``; None where no features were computed."""
        return values[str(self._diversity[0])] if self._diversity else None


def _frozen(name: str) -> nn.Module:
    return load_backbone(BACKBONES[name]).requires_grad_(False)
