"""TensorBoard's events, read back by TensorBoard's own reader."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from tests.tuner.records.test_tables import DRIVING, METRIC, diverged, report
from trainables.checkpoint import preview_name
from tuner.records.paths import SweepPaths
from tuner.records.tensorboard import TensorBoardLog
from tuner.records.trials import RecordBook, State

VALUES: dict[str, Any] = {
    "backbone": "efficientnet_lite0",
    "feature_loss.layers": ["blocks.1", "blocks.2"],
    "discriminator.frozen_depth": 3,
    "optimizer.generator_lr": 1e-3,
}


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return SweepPaths(tmp_path / "sweep")


@pytest.fixture
def log(paths: SweepPaths) -> Iterator[TensorBoardLog]:
    log = TensorBoardLog(paths, DRIVING)
    yield log
    log.close()


def preview(paths: SweepPaths, number: int, step: int, colour: tuple[int, int, int]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (70, 36), colour).save(buffer, "PNG")
    paths.trial(number).write_bytes(preview_name(step), buffer.getvalue())


def train(paths: SweepPaths, log: TensorBoardLog, records: RecordBook, number: int, fids: list[float]) -> None:
    """A trial with an evaluation every ten steps of 32 images."""
    record = records.open(number, VALUES | {"discriminator.frozen_depth": number})
    log.start(record)
    for index, fid in enumerate(fids, start=1):
        preview(paths, number, 10 * index, (index, number, 0))
        record.add(report(10 * index, fid, min(fids[:index])))
        log.report(record, record.reports[-1])


def read(paths: SweepPaths, number: int) -> EventAccumulator:
    return EventAccumulator(str(paths.tensorboard(number)), size_guidance={"images": 0, "tensors": 0}).Reload()


def points(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]  # type: ignore[misc]


def hparams(events: EventAccumulator) -> dict[str, Any]:
    found = {}
    for tag, content in events.summary_metadata.items():
        if content.plugin_data.plugin_name == "hparams":
            found[tag] = plugin_data_pb2.HParamsPluginData.FromString(content.plugin_data.content)
    return found


def test_two_trials(paths: SweepPaths, log: TensorBoardLog) -> None:
    records = RecordBook(paths.trials)
    train(paths, log, records, 0, [100.0, 90.0, 95.0])
    train(paths, log, records, 1, [120.0])
    records.end(0, State.COMPLETE, "reached its budget of images")
    records.end(1, State.STOPPED, "best FID 120.0 is 2nd of 2")
    for record in records.all():
        log.end(record)
    first, second = read(paths, 0), read(paths, 1)
    # Steps are images: 10 steps of 32.
    assert points(first, f"metric/{METRIC}") == [(320, 100.0), (640, 90.0), (960, 95.0)]
    assert points(first, f"best/{METRIC}") == [(320, 100.0), (640, 90.0), (960, 90.0)]
    assert points(first, "loss/d_loss") == [(320, 1.5), (640, 1.5), (960, 1.5)]
    assert points(first, "time/worker_seconds") == [(320, 2.5), (640, 5.0), (960, 7.5)]
    assert points(second, f"metric/{METRIC}") == [(320, 120.0)]
    assert [event.step for event in first.Images("samples")] == [320, 640, 960]
    pictures = [Image.open(io.BytesIO(event.encoded_image_string)) for event in first.Images("samples")]
    assert [(p.size, np.asarray(p)[0, 0].tolist()) for p in pictures] == [((70, 36), [i, 0, 0]) for i in (1, 2, 3)]
    (outcome,) = second.Tensors("outcome/text_summary")
    assert outcome.tensor_proto.string_val[0].decode() == "stopped: best FID 120.0 is 2nd of 2"
    assert outcome.step == 320


def test_hparams_are_there_while_the_trial_runs(paths: SweepPaths, log: TensorBoardLog) -> None:
    train(paths, log, RecordBook(paths.trials), 2, [100.0])
    found = hparams(read(paths, 2))
    start = found["_hparams_/session_start_info"].session_start_info
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    assert values == {
        "backbone": "efficientnet_lite0",
        "feature_loss.layers": "blocks.1+blocks.2",
        "discriminator.frozen_depth": 2.0,
        "optimizer.generator_lr": 1e-3,
    }
    assert start.start_time_secs > 0
    # An end would say that it does not run; an experiment would fix the table's columns to those of one trial.
    assert set(found) == {"_hparams_/session_start_info"}


def test_hparams_of_every_type(paths: SweepPaths, log: TensorBoardLog) -> None:
    values = {"a": True, "b": 3, "c": 0.5, "d": "x", "e": [], "f": None, "g": ("p", "q")}
    log.start(RecordBook(paths.trials).open(0, values))
    log.close()
    start = hparams(read(paths, 0))["_hparams_/session_start_info"].session_start_info
    assert {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()} == {
        "a": True, "b": 3.0, "c": 0.5, "d": "x", "e": "none", "f": "none", "g": "p+q",
    }  # fmt: skip


@pytest.mark.parametrize(("state", "status"), [(State.COMPLETE, 1), (State.STOPPED, 1), (State.FAILED, 2)])
def test_the_end_is_marked_for_hparams(paths: SweepPaths, log: TensorBoardLog, state: State, status: int) -> None:
    records = RecordBook(paths.trials)
    train(paths, log, records, 0, [100.0])
    records.end(0, state, "why")
    log.end(records[0])
    found = hparams(read(paths, 0))
    end = found["_hparams_/session_end_info"].session_end_info
    assert end.status == status
    assert end.end_time_secs >= found["_hparams_/session_start_info"].session_start_info.start_time_secs


def test_a_report_without_evaluation_has_its_losses_only(paths: SweepPaths, log: TensorBoardLog) -> None:
    records = RecordBook(paths.trials)
    record = records.open(0, VALUES)
    log.start(record)
    record.add(diverged(5))
    log.report(record, record.reports[-1])
    log.close()
    assert set(read(paths, 0).Tags()["scalars"]) == {"loss/d_loss", "loss/g_loss", "time/worker_seconds"}


def test_a_trial_that_goes_on_continues_its_curves(paths: SweepPaths) -> None:
    records = RecordBook(paths.trials)
    first = TensorBoardLog(paths, DRIVING)
    train(paths, first, records, 0, [100.0])
    first.close()
    second = TensorBoardLog(paths, DRIVING)
    record = records.open(0, VALUES)
    second.start(record)
    preview(paths, 0, 20, (9, 9, 9))
    record.add(report(20, 80.0, 80.0, resumed=True))
    second.report(record, record.reports[-1])
    second.close()
    assert points(read(paths, 0), f"metric/{METRIC}") == [(320, 100.0), (640, 80.0)]


def test_a_trial_without_a_log_is_left_alone(paths: SweepPaths, log: TensorBoardLog) -> None:
    record = RecordBook(paths.trials).open(0, VALUES)
    record.add(report(10, 1.0, 1.0))
    log.report(record, record.reports[-1])
    log.end(record)
    assert not paths.tensorboard().exists()
