"""TensorBoard events of each trial: scalars, fixed-noise image grids and HParams, written while the trial runs.

Steps are images, which TensorBoard abbreviates by thousands: 1500 shows as 1.5k, so the axis reads in kimg. HParams are written
when a trial starts, and its metric with every evaluation, so the table fills while the sweep runs (Tune's own logger writes it
at a trial's end only, with the last value).
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from trainables.checkpoint import preview_name
from tuner.paths import SweepPaths
from tuner.records import TrialRecord

_BEST = "hparam/fid_best"


class TensorBoardLog:
    """One event file for each trial, below ``<sweep>/tb/<trial>``.

    Args:
        metric: full name of the metric that drives the search; part of its tag, so values of others are never mixed up.
    """

    def __init__(self, paths: SweepPaths, metric: str) -> None:
        self.paths, self.metric = paths, metric
        self._writers: dict[int, SummaryWriter] = {}

    def start(self, record: TrialRecord) -> None:
        """Opens the trial's log and writes its searched values."""
        writer = self._writers[record.number] = SummaryWriter(str(self.paths.tensorboard(record.number)), flush_secs=5)
        values = {path: _scalar(value) for path, value in record.values.items()}
        for summary in hparams(values, {_BEST: None})[:2]:
            writer.file_writer.add_summary(summary)

    def report(self, record: TrialRecord, report: dict[str, Any]) -> None:
        """Writes one evaluation."""
        writer = self._writers.get(record.number)
        if writer is None:
            return
        images = round(report["kimg"] * 1000)
        for name, value in report["losses"].items():
            writer.add_scalar(f"loss/{name}", value, images)
        for name, value in report.get("metrics", {}).items():
            writer.add_scalar(f"metric/{name}", value, images)
        if "metrics" in report:
            writer.add_scalar(f"best/{self.metric}", report["fid_best"], images)
            writer.add_scalar(_BEST, report["fid_best"], images)
            picture = Image.open(io.BytesIO(self.paths.trial(record.number).read_bytes(preview_name(report["step"]))))
            writer.add_image("samples", np.asarray(picture), images, dataformats="HWC")
        seconds = report["seconds_training"] + report.get("seconds_evaluating", 0.0)
        writer.add_scalar("time/worker_seconds", seconds, images)
        writer.flush()

    def end(self, record: TrialRecord) -> None:
        """Writes how the trial ended and closes its log."""
        writer = self._writers.pop(record.number, None)
        if writer is not None:
            writer.add_text("outcome", f"{record.state.value}: {record.reason}", round(record.kimg * 1000))
            writer.file_writer.add_summary(hparams({}, {})[2])
            writer.close()

    def close(self) -> None:
        """Closes the logs of trials that are still open, as an interrupted sweep leaves them."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def _scalar(value: Any) -> bool | float | str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else value
