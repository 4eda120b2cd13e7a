"""TensorBoard events of each trial: scalars, fixed-noise image grids and HParams, written while the trial runs.

Steps are images, which TensorBoard abbreviates by thousands: 1500 shows as 1.5k, so the axis reads in kimg. HParams are written
when a trial starts, and the scalars that TensorBoard shows beside them with every evaluation, so the table fills while the sweep
runs (Tune's own logger writes it at a trial's end only, with the last value).
"""

from __future__ import annotations

import io
import itertools
import os
import socket
import time
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData
from tensorboard.summary.writer.record_writer import RecordWriter

from trainables.checkpoint import preview_name
from trainables.scoring import Metric, score
from tuner.records.paths import SweepPaths
from tuner.records.text import plain
from tuner.records.trials import State, TrialRecord


class EventFile:
    """One trial's event file, in TensorBoard's own format. Not `torch.utils.tensorboard`: that loads torch to write numbers."""

    _count = itertools.count()

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # The name that TensorBoard looks for, unique among writers and runs: later files of a folder are read after earlier ones.
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{next(self._count)}"
        self._records = RecordWriter((folder / name).open("ab"))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, *values: Summary.Value, step: int = 0) -> None:
        """Writes values of one step."""
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def flush(self) -> None:
        """Has the system take what was added."""
        self._records.flush()

    def close(self) -> None:
        """Closes the file."""
        self._records.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())


class TensorBoardLog:
    """One event file for each trial, below ``<sweep>/tb/<trial>``.

    Args:
        metric: what drives the search; its full name is part of the tag, so values of others are never mixed up.
    """

    def __init__(self, paths: SweepPaths, metric: Metric) -> None:
        self.paths, self.metric = paths, metric
        self._files: dict[int, EventFile] = {}

    def start(self, record: TrialRecord) -> None:
        """Opens the trial's log and writes its searched values."""
        file = self._files[record.number] = EventFile(self.paths.tensorboard(record.number))
        # No `Experiment` is written: TensorBoard would show the columns of whichever trial's it reads first, and trials of a
        # conditional space differ in what they have. Without, it collects the columns of all trials.
        file.add(_session_start(record.values))
        file.flush()

    def report(self, record: TrialRecord, report: dict[str, Any]) -> None:
        """Writes one evaluation."""
        file = self._files.get(record.number)
        if file is None:
            return
        values = [_scalar(f"loss/{name}", value) for name, value in report["losses"].items()]
        values += [_scalar(f"metric/{name}", value) for name, value in report.get("metrics", {}).items()]
        if "metrics" in report:
            values.append(_scalar(f"best/{self.metric}", score(self.metric, report["score_best"])))
            values.append(_picture("samples", self.paths.trial(record.number).read_bytes(preview_name(report["step"]))))
        values.append(_scalar("time/worker_seconds", record.worker_seconds))
        file.add(*values, step=_images(report["kimg"]))
        file.flush()

    def end(self, record: TrialRecord) -> None:
        """Writes how the trial ended and closes its log."""
        file = self._files.pop(record.number, None)
        if file is not None:
            file.add(_text("outcome", f"{record.state.value}: {record.reason}"), step=_images(record.kimg))
            file.add(_session_end(failed=record.state == State.FAILED))
            file.close()

    def close(self) -> None:
        """Closes the logs of trials that are still open, as an interrupted sweep leaves them."""
        for file in self._files.values():
            file.close()
        self._files.clear()


def _images(kimg: float) -> int:
    return round(kimg * 1000)


def _scalar(tag: str, value: float) -> Summary.Value:
    return Summary.Value(tag=tag, simple_value=value)


def _picture(tag: str, png: bytes) -> Summary.Value:
    width, height = Image.open(io.BytesIO(png)).size
    return Summary.Value(tag=tag, image=Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=png))


def _text(tag: str, text: str) -> Summary.Value:
    plugin = SummaryMetadata.PluginData(plugin_name="text", content=TextPluginData(version=0).SerializeToString())
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()], tensor_shape=shape)
    return Summary.Value(tag=f"{tag}/text_summary", metadata=SummaryMetadata(plugin_data=plugin), tensor=tensor)


def _session_start(values: dict[str, Any]) -> Summary.Value:
    start = SessionStartInfo(start_time_secs=time.time())
    for path, value in values.items():
        if isinstance(value, bool):
            start.hparams[path].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[path].number_value = value
        else:
            start.hparams[path].string_value = "none" if value is None else str(plain(value)) or "none"
    return _hparams(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))


def _session_end(*, failed: bool) -> Summary.Value:
    status = Status.Value("STATUS_FAILURE" if failed else "STATUS_SUCCESS")
    end = SessionEndInfo(status=status, end_time_secs=time.time())
    return _hparams(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))


def _hparams(tag: str, data: HParamsPluginData) -> Summary.Value:
    data.version = metadata.PLUGIN_DATA_VERSION
    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
    return Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))
