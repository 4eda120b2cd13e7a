"""TensorBoard events of each trial: scalars, fixed-noise image grids and HParams, written while the trial runs.

Steps are images, which TensorBoard abbreviates by thousands: 1500 shows as 1.5k, so the axis reads in kimg. HParams are written
when a trial starts, and the scalars that TensorBoard shows beside them with every evaluation, so the table fills while the sweep
runs (Tune's own logger writes it at a trial's end only, with the last value).
"""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from torch.utils.tensorboard import SummaryWriter

from trainables.checkpoint import preview_name
from trainables.metrics import AnyMetric, score
from tuner.paths import SweepPaths
from tuner.records import State, TrialRecord
from tuner.results import plain


class TensorBoardLog:
    """One event file for each trial, below ``<sweep>/tb/<trial>``.

    Args:
        metric: what drives the search; its full name is part of the tag, so values of others are never mixed up.
    """

    def __init__(self, paths: SweepPaths, metric: AnyMetric) -> None:
        self.paths, self.metric = paths, metric
        self._writers: dict[int, SummaryWriter] = {}

    def start(self, record: TrialRecord) -> None:
        """Opens the trial's log and writes its searched values."""
        writer = self._writers[record.number] = SummaryWriter(str(self.paths.tensorboard(record.number)), flush_secs=5)
        # No `Experiment` is written: TensorBoard would show the columns of whichever trial's it reads first, and trials of a
        # conditional space differ in what they have. Without, it collects the columns of all trials.
        writer.file_writer.add_summary(_session_start(record.values))

    def report(self, record: TrialRecord, report: dict[str, Any]) -> None:
        """Writes one evaluation."""
        writer = self._writers.get(record.number)
        if writer is None:
            return
        images = _images(report["kimg"])
        for name, value in report["losses"].items():
            writer.add_scalar(f"loss/{name}", value, images)
        for name, value in report.get("metrics", {}).items():
            writer.add_scalar(f"metric/{name}", value, images)
        if "metrics" in report:
            writer.add_scalar(f"best/{self.metric}", score(self.metric, report["score_best"]), images)
            picture = Image.open(io.BytesIO(self.paths.trial(record.number).read_bytes(preview_name(report["step"]))))
            writer.add_image("samples", np.asarray(picture), images, dataformats="HWC")
        writer.add_scalar("time/worker_seconds", record.worker_seconds, images)
        writer.flush()

    def end(self, record: TrialRecord) -> None:
        """Writes how the trial ended and closes its log."""
        writer = self._writers.pop(record.number, None)
        if writer is not None:
            writer.add_text("outcome", f"{record.state.value}: {record.reason}", _images(record.kimg))
            writer.file_writer.add_summary(_session_end(failed=record.state == State.FAILED))
            writer.close()

    def close(self) -> None:
        """Closes the logs of trials that are still open, as an interrupted sweep leaves them."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def _images(kimg: float) -> int:
    return round(kimg * 1000)


def _session_start(values: dict[str, Any]) -> Summary:
    start = SessionStartInfo(start_time_secs=time.time())
    for path, value in values.items():
        if isinstance(value, bool):
            start.hparams[path].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[path].number_value = value
        else:
            start.hparams[path].string_value = "none" if value is None else str(plain(value)) or "none"
    return _hparams(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))


def _session_end(*, failed: bool) -> Summary:
    status = Status.Value("STATUS_FAILURE" if failed else "STATUS_SUCCESS")
    end = SessionEndInfo(status=status, end_time_secs=time.time())
    return _hparams(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))


def _hparams(tag: str, data: HParamsPluginData) -> Summary:
    data.version = metadata.PLUGIN_DATA_VERSION
    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
    return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))])
