"""A worker on a real GPU: evaluation, checkpoints written beside it, the objects of two workers. Skipped where CUDA is not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.processes import PROCESSES
from tests.trainables.small import FACES, differences, small_config
from trainables.checkpoint import TrialFiles
from trainables.collective import Collective
from trainables.data import ImageDataset
from trainables.gan import GanTrainer
from trainables.pictures import grid, png
from trainables.storage import Storage
from trainables.worker import CONTINUE, Assignment, run_trial

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda", 0)


def a_trial(folder: Path, cache: Path, send: Any, **changes: Any) -> None:
    config = small_config(evaluation={"metric": "fid[efficientnet_lite1,64px,n=32]", "every_kimg": 0.016}, kimg=0.032, **changes)
    assignment = Assignment(0, config.model_dump(mode="json"), FACES, Storage(folder), str(cache), 0.0)
    run_trial(assignment, Collective(), CUDA, send)


def test_a_trial_trains_evaluates_and_writes_what_can_be_resumed(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.get", lambda verdict: verdict)
    a_trial(tmp_path, cache, lambda report: sent.append(report) or CONTINUE)
    assert [report["step"] for report in sent] == [2, 4]
    assert all(math.isfinite(report["score"]) and report["problem"] is None for report in sent)
    found = TrialFiles(Storage(tmp_path), 0).newest()
    assert found is not None
    assert found["report"]["step"] == 4
    before = len(sent)
    a_trial(tmp_path, cache, lambda report: sent.append(report) or CONTINUE)  # resumed at its end: the report again, no more
    assert [report["step"] for report in sent[before:]] == [4]


def test_a_checkpoint_is_of_the_moment_at_which_it_was_begun(dataset: ImageDataset, tmp_path: Path) -> None:
    """The copy to the host is queued before whatever comes after it on the GPU."""
    trainer, files = GanTrainer(small_config(), dataset, device=CUDA), TrialFiles(Storage(tmp_path))
    trainer.step()
    expected = {name: x.cpu().clone() for name, x in trainer.ema.state_dict().items()}
    with files.saving(trainer.state_dict(), 1, lambda: png(grid(torch.zeros(1, 3, 8, 8)))) as saving:
        with torch.no_grad():
            for x in trainer.ema.parameters():
                x.fill_(7)
        saving.finish({"step": 1}, is_best=True)
    assert differences(files.load(1)["trainer"]["ema"], expected) == []


def test_an_evaluation_that_is_done_again_is_the_same_to_the_last_bit(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.get", lambda verdict: verdict)
    scores: list[float] = []
    for name in ("first", "again"):
        a_trial(tmp_path / name, cache, lambda report: scores.append(report["score"]) or CONTINUE, speed={"kernels": "exact"})
    assert scores[:2] == scores[2:]


def _exchange(rank: int, folder: Path) -> None:
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    collective = Collective()
    torch.cuda.reset_peak_memory_stats()
    taken = torch.cuda.memory_allocated()
    found = {"broadcast": collective.broadcast({"from": rank}), "gather": collective.gather(rank)}
    assert torch.cuda.max_memory_allocated() == taken, "objects must not pass through a GPU"
    found["sum"] = collective.sum(torch.ones(2, device="cuda") * (rank + 1)).cpu()
    found["rows"] = collective.gather_rows(torch.full((rank + 1, 1), float(rank), device="cuda")).cpu()
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.gpu(2)
@pytest.mark.slow
def test_tensors_go_by_nccl_and_objects_by_gloo(tmp_path: Path) -> None:
    processes = [PROCESSES.Process(target=_exchange, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
        assert process.exitcode == 0
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        expected = {"broadcast": {"from": 0}, "gather": [0, 1], "sum": torch.full((2,), 3.0)}
        assert differences(found, expected | {"rows": torch.tensor([[0.0], [1.0], [1.0]])}) == []
