"""TensorBoard events of each trial: scalars, fixed-noise image grids and HParams, written while the trial runs.

Steps are images, which TensorBoard abbreviates by thousands: 1500 shows as 1.5k, so the axis reads in kimg. HParams are written
when a trial starts, and the scalars that TensorBoard shows beside them with every evaluation, so the table fills while the sweep
runs (Tune's own logger writes it at a trial's end only, with the last value).
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData

from trainables.checkpoint import preview_name
from trainables.scoring import Metric, score
from tuner.records.files import append, size_of
from tuner.records.paths import SweepPaths, trial_folder
from tuner.records.text import plain
from tuner.records.trials import State, TrialRecord


@dataclass
class _File:
    """One trial's event file, in TensorBoard's own format. Not `torch.utils.tensorboard`: that loads torch to write numbers."""

    number: int  # of the trial
    path: Path
    size: int = 0
    waiting: list[tuple[float, int, list[Summary.Value], str | None]] = field(default_factory=list)  # time, step, …, preview


class TensorBoardLog:
    """One event file for each trial, below ``<sweep>/tb/<trial>``. None stays open: it is appended to and closed.

    Args:
        metric: what drives the search; its full name is part of the tag, so values of others are never mixed up.
        batched: events wait for `flush` or `close`; else each is written at once. When writing fails with an OSError, what was
            not written is written next time.
    """

    _count = itertools.count()

    def __init__(self, paths: SweepPaths, metric: Metric, *, batched: bool = False) -> None:
        self.paths, self.metric, self.batched = paths, metric, batched
        self._files: dict[int, _File] = {}  # of trials that run
        self._waiting: list[_File] = []  # with something to write, those of trials that ended too

    def start(self, record: TrialRecord) -> None:
        """Opens the trial's log and writes its searched values."""
        if record.number in self._files:  # it goes on in another worker group
            return
        # The name that TensorBoard looks for, unique among writers and runs: later files of a folder are read after earlier ones.
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{next(self._count)}"
        self._files[record.number] = _File(record.number, self.paths.tensorboard(record.number) / name)
        # No `Experiment` is written: TensorBoard would show the columns of whichever trial's it reads first, and trials of a
        # conditional space differ in what they have. Without, it collects the columns of all trials.
        self._add(record.number, 0, [_session_start(record.values)])

    def report(self, record: TrialRecord, report: dict[str, Any]) -> None:
        """Writes one evaluation."""
        values = [_scalar(f"loss/{name}", value) for name, value in report["losses"].items()]
        values += [_scalar(f"metric/{name}", value) for name, value in report.get("metrics", {}).items()]
        preview = None
        if "metrics" in report:
            values.append(_scalar(f"best/{self.metric}", score(self.metric, report["score_best"])))
            preview = preview_name(report["step"])
        values.append(_scalar("time/worker_seconds", record.worker_seconds))
        self._add(record.number, _images(report["kimg"]), values, preview)

    def end(self, record: TrialRecord) -> None:
        """Writes how the trial ended and closes its log."""
        outcome = _text("outcome", f"{record.state.value}: {record.reason}")
        end = _session_end(failed=record.state == State.FAILED)
        self._add(record.number, _images(record.kimg), [outcome])
        self._add(record.number, 0, [end])
        self._files.pop(record.number, None)

    def flush(self) -> None:
        """Writes what waits. OSError when some of it could not be written: that waits on."""
        failure: OSError | None = None
        waiting, self._waiting = self._waiting, []
        for file in waiting:
            try:
                self._write(file)
            except OSError as error:
                failure = failure or error
                self._waiting.append(file)
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Writes what waits and closes all logs. Those of trials that still run end without an outcome."""
        self.flush()
        self._files.clear()

    def _add(self, number: int, step: int, values: list[Summary.Value], preview: str | None = None) -> None:
        file = self._files.get(number)
        if file is None:
            return
        if not file.waiting:
            self._waiting.append(file)
        file.waiting.append((time.time(), step, values, preview))
        if not self.batched:
            self.flush()

    def _write(self, file: _File) -> None:
        """Appends a file's waiting events in one piece."""
        at = file.size if size_of(file.path) >= file.size else 0  # somebody has deleted it
        events = [] if at else [Event(wall_time=time.time(), file_version="brain.Event:2")]
        for wall_time, step, values, preview in file.waiting:
            pictures = self._pictures(file.number, preview) if preview else []
            events.append(Event(wall_time=wall_time, step=step, summary=Summary(value=[*values, *pictures])))
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.size = append(file.path, at, b"".join(_framed(event.SerializeToString()) for event in events))
        file.waiting.clear()

    def _pictures(self, number: int, preview: str) -> list[Summary.Value]:
        """The grid of an evaluation; none when it cannot be read, which must not cost the numbers."""
        try:
            png = self.paths.storage.read_bytes(f"trials/{trial_folder(number)}/{preview}")
        except OSError:
            return []
        return [_picture("samples", png)] if png.startswith(b"\x89PNG") and len(png) > 24 else []


def _framed(data: bytes) -> bytes:
    """A record of an event file: its length and its bytes, each with a checksum (TensorFlow's TFRecord)."""
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _masked_crc(data: bytes) -> bytes:
    # Not `tensorboard`'s own, which is plain Python: 0.2 s for a picture of 2 MB.
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _images(kimg: float) -> int:
    return round(kimg * 1000)


def _scalar(tag: str, value: float) -> Summary.Value:
    return Summary.Value(tag=tag, simple_value=value)


def _picture(tag: str, png: bytes) -> Summary.Value:
    width, height = struct.unpack(">II", png[16:24])  # PNG's first chunk starts with them
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
