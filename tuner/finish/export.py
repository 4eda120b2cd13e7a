"""The best checkpoint of a sweep as a self-contained generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from trainables.checkpoint import TrialFiles, preview_name
from trainables.exported import enlargement, is_export, save_export
from trainables.pictures import enlarged, from_png
from tuner.finish.finalists import best_finalist
from tuner.records.paths import SweepPaths
from tuner.records.trials import RecordBook
from tuner.spec import SweepSpec
from tuner.spec.trial_config import trial_config


def export_best(paths: SweepPaths, spec: SweepSpec, number: int | None = None, out: Path | None = None) -> Path:
    """Exports a trial's best generator.

    Args:
        number: the trial; None takes the best finalist, or the best by the sweep's own metric where none were scored.
        out: the folder to write; ``<sweep>/export/trial-<number>`` when None.

    Returns:
        The export's folder.

    Raises:
        ValueError: there is no such trial, none has been evaluated, or ``out`` holds something that is no export.
    """
    if out is not None and _is_taken(out):
        # An earlier export there is replaced, which deletes the folder.
        raise ValueError(f"{out} is already there and is no export: choose a new folder")
    records = RecordBook(paths.trials)
    ranking = [record.number for record in records.ranking()]
    if not ranking:
        raise ValueError(f"no trial of {paths.folder} has been evaluated yet: there is nothing to export")
    finalist = best_finalist(paths)
    if number is None:
        number = finalist[0] if finalist and finalist[0] in ranking else ranking[0]
    if number not in ranking:
        raise ValueError(f"trial must be one that was evaluated ({', '.join(map(str, sorted(ranking)))}), but got {number}")
    record = records[number]
    best = _best(paths, number)
    config = trial_config(spec.base, record.values)
    metrics = dict(best["report"]["metrics"])
    if finalist and finalist[0] == number:
        metrics[finalist[1]] = finalist[2]
    folder = out or paths.export(f"trial-{number:04d}")
    save_export(
        folder,
        best["ema"],
        {
            "task": config.task.model_dump(mode="json"),
            "backbone": config.backbone,
            "resolution": config.resolution,
            "background": spec.data.background,
            "generator": config.generator.model_dump(mode="json"),
            "backbone_weights": config.weights,
            "metrics": metrics,
            "kimg": best["report"]["kimg"],
            "sweep": spec.name,
            "trial": number,
            "values": record.values,
        },
        # Made of held-out pictures where G takes pictures, which the export does not hold.
        None
        if config.task.name == "generation"
        else enlarged(_preview(paths, number, best["report"]["step"]), enlargement(config.resolution)),
    )
    return folder


def _best(paths: SweepPaths, number: int) -> dict[str, Any]:
    """The best generator of a trial. ValueError that names its file where it is gone or damaged."""
    try:
        return TrialFiles(paths.trial(number), number).load_best()
    except FileNotFoundError as error:
        raise ValueError(f"the best generator of trial {number} is gone: {error}") from error


def _preview(paths: SweepPaths, number: int, step: int) -> Tensor:
    name = preview_name(step)
    try:
        return from_png(paths.trial(number).read_bytes(name))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's kinds for a damaged PNG
        raise ValueError(f"the preview {paths.trial(number).root}/{name} is gone or damaged: {error}") from error


def _is_taken(folder: Path) -> bool:
    if not folder.exists():
        return False
    return not folder.is_dir() or (any(folder.iterdir()) and not is_export(folder))
