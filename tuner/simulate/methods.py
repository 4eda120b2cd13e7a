"""Our method: the engine's own proposals, records, rule and verdicts, put together without Tune."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from typing import Any

import optuna
from optuna.storages import InMemoryStorage

from trainables.storage import Storage
from tuner.engine.proposals import Proposals, open_study
from tuner.records.trials import RecordBook, State
from tuner.schedulers.verdict import verdict
from tuner.simulate.setting import Config, Setting


class Ours:
    """What `tuner.engine` decides with. Its records lie in a folder that goes with the object."""

    def __init__(self, setting: Setting, seed: int, clock: Callable[[], float]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder = tempfile.mkdtemp(prefix="gansweep-simulated-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.records = RecordBook(Storage(folder))
        self.rule = setting.rule()
        self.proposals = Proposals(
            open_study(InMemoryStorage()),
            setting.space,
            setting.trials,
            seed,
            self.records,
            configure=dict,
            starts=setting.starts,
            clock=clock,
        )

    def suggest(self) -> tuple[int, Config] | None:
        proposal = self.proposals.suggest()
        return None if proposal is None else (proposal.number, proposal.config)

    def report(self, report: dict[str, Any]) -> bool:
        number = report["number"]
        self.records.report(report)
        decided = verdict(self.rule, report)
        if decided.state != State.RUNNING:
            self.records.end(number, decided.state, decided.reason, decided.fault)
        self.proposals.on_report(number, report)
        if not decided.goes_on:
            self.proposals.on_end(number)
        return decided.goes_on
