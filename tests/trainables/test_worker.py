"""The parts of a worker that need no Ray cluster; the rest is tested with the tuner, on a real one."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.contracts.trials import entry
from tests.trainables.small import FACES, differences, small_config
from trainables.checkpoint import TrialFiles
from trainables.collective import Collective
from trainables.data import ImageDataset
from trainables.evaluation import FixedInputs, Pictures
from trainables.gan import GanTrainer
from trainables.generators import GENERATORS, Frame
from trainables.metrics import parse_metric
from trainables.metrics.embedding import NotFiniteError
from trainables.randomness import indexed_noise
from trainables.source import save_source
from trainables.storage import Storage
from trainables.worker import CONTINUE, STOP, Assignment, evaluate, leave_nothing_behind, run_trial, train_until


class Evaluator:
    """What `evaluate` needs of a `TrialEvaluator` beside its values."""

    def __init__(self, trainer: GanTrainer, dataset: ImageDataset) -> None:
        pictures = Pictures(dataset, dataset, dataset, None)
        self.inputs = FixedInputs(trainer.task, pictures, trainer.z_dim, trainer.device)

    def diversity(self, values: dict[str, float]) -> float | None:
        return None


METRIC = str(parse_metric("fid[efficientnet_lite1,64px,n=32]"))


def test_train_until_reports_the_mean_losses(dataset: ImageDataset) -> None:
    trainer, same = (GanTrainer(small_config(), dataset) for _ in range(2))
    means, problem = train_until(3, trainer, Collective())
    assert problem is None
    assert trainer.step_index == 3
    steps = [same.step() for _ in range(3)]
    assert means == pytest.approx({name: sum(float(step[name]) for step in steps) / 3 for name in steps[0]}, rel=1e-5)
    assert train_until(3, trainer, Collective()) == ({}, None), "there already"


def test_a_loss_is_averaged_over_the_phases_that_have_it(dataset: ImageDataset) -> None:
    """Two steps of G alone, one of D alone, two of both."""
    config = small_config(
        task="denoising",
        generator={"name": "unet", "channels": 4, "depth": 1},
        discriminator={"name": "patch"},
        pretrain_kimg=0.016,
        pretrain_critic_kimg=0.008,
    )
    means, _ = train_until(5, GanTrainer(config, dataset), Collective())
    same = GanTrainer(config, dataset)
    steps = [same.step() for _ in range(5)]
    assert [step.keys() & {"g_loss", "d_loss"} for step in steps[1:4]] == [set(), {"d_loss"}, {"g_loss", "d_loss"}]
    for name, count in {"g_loss": 2, "d_loss": 3, "reconstruction": 4}.items():
        values = [float(step[name]) for step in steps if name in step]
        assert len(values) == count
        assert means[name] == pytest.approx(sum(values) / count, rel=1e-5)


def test_a_loss_that_is_not_finite_ends_training_within_eight_steps_and_is_named(dataset: ImageDataset) -> None:
    config = small_config(kimg=1, optimizer={"generator_lr": 1e30, "discriminator_lr": 1e30})
    trainer = GanTrainer(config, dataset)
    means, problem = train_until(100, trainer, Collective())
    assert trainer.step_index == 8
    assert problem is not None
    assert problem.endswith("by 0.06 kimg")
    bad = [name for name, value in means.items() if not math.isfinite(value)]
    assert bad
    assert all(f"{name} is {means[name]}" in problem for name in bad)
    assert "d_accuracy" not in bad


def test_an_evaluation_writes_what_its_report_says(dataset: ImageDataset, tmp_path: Path) -> None:
    trainer, files = GanTrainer(small_config(), dataset), TrialFiles(Storage(tmp_path))
    fids = iter((7.0, 9.0, 5.0))
    best = math.inf
    for expected_best in (7.0, 7.0, 5.0):
        trainer.step()
        seen: list[torch.Tensor] = []

        class Scripted(Evaluator):
            def __call__(self, sample: Any, seen: list[torch.Tensor] = seen) -> dict[str, float]:
                seen.append(sample(self.inputs(torch.arange(3))[0]))
                return {METRIC: next(fids), "kid": 0.1}

        report = {"number": 0, "step": trainer.step_index, "score_best": best}
        added = evaluate(trainer, Scripted(trainer, dataset), files, report)  # type: ignore[arg-type]
        best = added["score_best"]
        assert best == expected_best
        z = indexed_noise(torch.arange(3), trainer.z_dim, 0, "evaluation")
        assert torch.equal(seen[0], trainer.sample(z))
        saved = files.load(trainer.step_index)
        assert differences(saved["trainer"], trainer.state_dict()) == []
        assert saved["report"] == report | added
        assert files.load_best()["report"]["score"] == expected_best


def test_pictures_that_are_not_finite_are_the_trials_problem(dataset: ImageDataset, tmp_path: Path) -> None:
    class Failing(Evaluator):
        def __call__(self, sample: Any) -> dict[str, float]:
            raise NotFiniteError("image 3 is NaN")

    trainer, files = GanTrainer(small_config(), dataset), TrialFiles(Storage(tmp_path))
    report = {"number": 0, "step": 0, "score_best": math.inf}
    found = evaluate(trainer, Failing(trainer, dataset), files, report)  # type: ignore[arg-type]
    assert found == {"problem": "image 3 is NaN at 0.00 kimg"}
    assert files.newest_step() is None


def test_evaluation_pictures_depend_on_the_index_alone(dataset: ImageDataset) -> None:
    trainer = GanTrainer(small_config(), dataset)
    inputs = Evaluator(trainer, dataset).inputs
    whole, some = (trainer.sample(inputs(torch.tensor(indices))[0]) for indices in (range(6), [5, 2]))
    torch.testing.assert_close(some, whole[[5, 2]], rtol=0, atol=1e-5)


def test_a_trial_reports_how_much_of_its_generator_its_source_gave(
    dataset: ImageDataset, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a trial from scratch reports nothing of the kind."""
    small = {"kimg": 0.008, "evaluation": {"metric": "psnr[n=4]"}, "task": "denoising", "discriminator": {"name": "patch"}}
    unet = {"generator": {"name": "unet", "channels": 4, "depth": 1}, "pretrain_kimg": 0.008, "feature_loss": {"layers": ()}}
    made = GanTrainer(small_config(**small, **unet), dataset)
    save_source(tmp_path / "source.safetensors", made.generator, {}, {})
    sent: list[dict[str, Any]] = []

    def send(report: dict[str, Any]) -> str:
        sent.append(report)
        return STOP

    monkeypatch.setattr("ray.get", lambda verdict: verdict)
    for number, source in enumerate((None, str(tmp_path / "source.safetensors"))):
        config = small_config(**small, **unet, source=source).model_dump(mode="json")
        assignment = Assignment(number, config, FACES, Storage(tmp_path / str(number)), str(cache), 0.0)
        run_trial(assignment, Collective(), torch.device("cpu"), send)
    assert [report.get("source_share") for report in sent] == [None, 1.0]


def test_a_discriminator_that_wins_while_it_trains_alone_ends_no_trial(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three evaluations: of G alone, of D alone, of both, which is the first that the guard of saturation looks at."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.get", lambda verdict: verdict)
    config = small_config(
        task="denoising", generator={"name": "unet", "channels": 4, "depth": 1}, discriminator={"name": "patch"},
        feature_loss={"layers": ["blocks.1"], "form": "paired"}, reconstruction={"name": "l1", "weight": 0},
        pretrain_kimg=0.008, pretrain_critic_kimg=0.008, kimg=0.024, evaluation={"metric": "psnr[n=4]", "every_kimg": 0.008},
    )  # fmt: skip
    assignment = Assignment(0, config.model_dump(mode="json"), FACES, Storage(tmp_path), str(cache), 0.0)
    run_trial(assignment, Collective(), torch.device("cpu"), lambda report: sent.append(report) or CONTINUE)
    assert ["g_loss" in report["losses"] for report in sent] == [False, False, True]
    assert ["d_accuracy" in report["losses"] for report in sent] == [False, True, True]
    assert [len(report["intervals"]) for report in sent] == [0, 0, 1]


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_nothing_is_left_behind() -> None:
    try:
        leave_nothing_behind(small_config(seed=3))
        fresh, tries_kernels = draws(), torch.backends.cudnn.benchmark
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.backends.cudnn.benchmark = not tries_kernels
        leave_nothing_behind(small_config(seed=3))
        assert draws() == fresh
        assert torch.get_default_dtype() == torch.float32
        assert torch.is_grad_enabled()
        assert torch.backends.cudnn.benchmark == tries_kernels
        leave_nothing_behind(small_config(seed=4))
        assert draws() != fresh
        leave_nothing_behind(small_config(seed=2**40))  # numpy takes 32 bits
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        torch.backends.cudnn.benchmark = False


def test_compiled_graphs_are_kept_for_trials_of_the_same_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[bool] = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(True))

    def after(**changes: Any) -> int:
        leave_nothing_behind(small_config(**changes))
        return len(resets)

    compiled = {"speed": {"compile": True}}
    first = after(**compiled, resolution=32)
    assert first <= 1  # 0 where a test before was of that shape
    assert after(**compiled, seed=7, optimizer={"generator_lr": 0.5}, source=None) == first
    assert after() == first, "one that compiles nothing leaves them alone"
    assert after(**compiled) == first
    assert after(**compiled, batch_size=16) == first + 1
    assert after(**compiled, batch_size=16, generator={"channels": 4}) == first + 2
    assert after(**compiled) == first + 3


@pytest.mark.parametrize("name", ["compact", "stylegan2"])
def test_another_network_of_the_same_shape_compiles_nothing(name: str) -> None:
    """By a backend that compiles nothing itself: whether there is a new graph is Dynamo's to say."""
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    counts = []
    for seed in range(3):
        torch.manual_seed(seed)
        options = GENERATORS[name].Options(**entry(name))
        plain = GENERATORS[name](options, Frame(16), pytest.fail)
        plain(torch.randn(4, plain.z_dim), noise="random")  # what layers keep, such as filters, is there from now on
        network = torch.compile(plain, backend=backend, dynamic=False)
        for batch in (8, 4):
            network(torch.randn(batch, network.z_dim), noise="random").sum().backward()
        counts.append(len(graphs))
    assert counts[0] > 0
    assert counts == [counts[0]] * 3


def test_a_trial_after_another_that_left_a_mess_gives_the_same_curve(dataset: ImageDataset) -> None:
    leave_nothing_behind(small_config(seed=5))
    fresh = [GanTrainer(small_config(), dataset).step()]
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        leave_nothing_behind(small_config(seed=5))
        assert differences([GanTrainer(small_config(), dataset).step()], fresh) == []
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
