"""The sweep's journal is Optuna's own format, and survives what happens to its writer."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tuner.engine.journal import SweepJournal
from tuner.engine.patience import NotOursError, Patience
from tuner.engine.searcher import open_study


def patience(said: list[str] | None = None) -> Patience:
    return Patience((said if said is not None else []).append, lambda: None, every_s=0.01)


def study(file: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return open_study(JournalStorage(SweepJournal(file, patience())))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A journal with two trials that are told and one that runs."""
    file = tmp_path / "optuna.journal"
    first = study(file)
    for value in (3.0, 2.0):
        trial = first.ask()
        trial.suggest_float("x", 0, 1)
        first.tell(trial, value)
    first.ask()
    return file


def values(study: optuna.Study) -> list[float | None]:
    return [trial.value for trial in study.trials]


def test_optuna_reads_it(file: Path) -> None:
    loaded = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(file))))
    assert values(loaded) == [3.0, 2.0, None]


def test_a_last_line_torn_anywhere_is_mended_and_the_journal_goes_on(file: Path) -> None:
    whole = file.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last + 1, len(whole)):
        file.write_bytes(whole[:cut])
        again = study(file)
        assert values(again)[:2] == [3.0, 2.0]
        again.tell(again.ask(), 1.0)
        assert 1.0 in values(study(file))


def test_a_damaged_line_before_the_last_is_named(file: Path) -> None:
    lines = file.read_bytes().split(b"\n")
    lines[2] = lines[2][:-3]
    file.write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError, match=r"optuna\.journal is damaged: line 3 is no entry"):
        study(file)


def test_the_lock_of_a_killed_process_is_no_obstacle(file: Path) -> None:
    os.symlink(file, f"{file}.lock")
    assert values(study(file)) == [3.0, 2.0, None]


def test_a_write_that_fails_is_made_again_and_leaves_no_half_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    again = open_study(JournalStorage(SweepJournal(file, patience(said))))
    real, failures = os.pwrite, iter([True, True, False])

    def write(descriptor: int, data: bytes, at: int) -> int:
        if next(failures, False):
            real(descriptor, data[:7], at)
            raise OSError(28, "No space left on device")
        return real(descriptor, data, at)

    monkeypatch.setattr("tuner.records.files.os.pwrite", write)
    again.tell(again.ask(), 1.0)
    monkeypatch.undo()
    assert values(study(file))[-1] == 1.0
    assert len(said) == 2
    assert "No space left" in said[0]
    assert "works again" in said[1]


def test_nothing_is_written_when_the_sweep_is_another_drivers(file: Path) -> None:
    before = file.read_bytes()
    lost = Patience(print, lambda: None, allowed=lambda: False)
    again = JournalStorage(SweepJournal(file, lost))
    with pytest.raises(NotOursError):
        optuna.load_study(study_name=None, storage=again).ask()
    assert file.read_bytes() == before


def test_a_read_that_fails_is_made_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    real, failures = JournalFileBackend.read_logs, iter([True, True, False])

    def read(self: JournalFileBackend, number: int) -> object:
        if next(failures, False):
            raise OSError(116, "Stale file handle")
        return real(self, number)

    monkeypatch.setattr(JournalFileBackend, "read_logs", read)
    again = open_study(JournalStorage(SweepJournal(file, patience(said))))
    assert values(again) == [3.0, 2.0, None]
    assert "Stale file handle" in said[0]


def test_a_driver_that_finds_anothers_entries_writes_no_more(file: Path) -> None:
    """It was succeeded and has not looked since: to write would tear what its successor has written."""
    first, second = study(file), study(file)
    second.ask()
    whole = file.read_bytes()
    with pytest.raises(NotOursError, match="somebody else has written"):
        first.ask()
    assert file.read_bytes() == whole
    assert len(study(file).trials) == 4
