"""What GanTrainer promises of every trial, whatever is in it: the same curve again, resumed and by several workers."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.trials import (
    ENTRIES,
    OPTIONS,
    STEPS,
    TRIALS,
    of_workers,
    pictures,
    trained,
    trainer_of,
    trial,
)
from tests.trainables.peers import alone, run_group
from tests.trainables.small import differences
from trainables.augment import POLICIES
from trainables.config import TrialConfig
from trainables.data import ImageDataset
from trainables.discriminators import DISCRIMINATORS
from trainables.gan import GanTrainer
from trainables.generators import GENERATORS
from trainables.losses import (
    ADVERSARIAL,
    FEATURE_DISTANCES,
    FEATURE_FORMS,
    GENERATOR_REGULARISERS,
    RECONSTRUCTION,
    REGULARISERS,
)
from trainables.tasks import TASKS

Pair = tuple[ImageDataset, ImageDataset]
# The CPU's bfloat16 convolutions give the gradient of a 1x1 map's kernel now and then with other last bits.
BIT_FOR_BIT = {name: config for name, config in TRIALS.items() if config.speed.precision == "float32"}
every_trial = pytest.mark.parametrize("config", TRIALS.values(), ids=TRIALS)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pictures(tmp_path_factory.mktemp("packed"))


def losses_of(trainer: GanTrainer, steps: int) -> list[dict[str, Tensor]]:
    return [trainer.step() for _ in range(steps)]


def saved(trainer: GanTrainer) -> dict[str, Any]:
    """The trainer's state by way of a file that holds nothing but data."""
    buffer = io.BytesIO()
    torch.save(trainer.state_dict(), buffer)
    buffer.seek(0)
    state: dict[str, Any] = torch.load(buffer, weights_only=True)
    return state


def networks(trainer: GanTrainer) -> dict[str, nn.Module]:
    return {"generator": trainer.generator, "discriminator": trainer.discriminator}


def test_every_entry_of_every_registry_is_in_a_trial() -> None:
    configs = ENTRIES.values()
    members = [member for c in configs for member in getattr(c.discriminator, "members", ())]
    used: dict[str, set[str]] = {
        "task": {c.task.name for c in configs},
        "generator": {c.generator.name for c in configs},
        "discriminator": {d.name for d in [*(c.discriminator for c in configs), *members]},
        "conditional discriminator": {c.discriminator.name for c in configs if c.discriminator.conditional},
        "adversarial": {c.adversarial for c in configs},
        "regulariser": {r.name for c in configs for r in c.regularisers},
        "regulariser of the generator": {r.name for c in configs for r in c.generator_regularisers},
        "form": {c.feature_loss.form for c in configs},
        "distance": {c.feature_loss.distance for c in configs},
        "reconstruction": {c.reconstruction.name for c in configs if c.reconstruction.weight},
        "policy": {name for c in configs for name in c.augment},
    }
    registries = {
        "task": TASKS,
        "generator": GENERATORS,
        "discriminator": DISCRIMINATORS,
        "conditional discriminator": DISCRIMINATORS,
        "adversarial": ADVERSARIAL,
        "regulariser": REGULARISERS,
        "regulariser of the generator": GENERATOR_REGULARISERS,
        "form": FEATURE_FORMS,
        "distance": FEATURE_DISTANCES,
        "reconstruction": RECONSTRUCTION,
        "policy": POLICIES,
    }
    assert used == {name: set(registry) for name, registry in registries.items()}


@pytest.mark.parametrize("config", BIT_FOR_BIT.values(), ids=BIT_FOR_BIT)
def test_the_same_again_and_resumed(images: Pair, config: TrialConfig) -> None:
    """Same seed, same curve; and stopped half way, through a file, the rest of it: bit for bit, with all state."""
    torch.use_deterministic_algorithms(True)
    try:
        first = trainer_of(config, images)
        start = saved(first)
        early = losses_of(first, STEPS // 2)
        stopped = saved(first)
        late = losses_of(first, STEPS // 2)
        moved = {place.split("/")[1] for place in differences(stopped, saved(first))}

        again = trainer_of(config, images)
        assert differences(saved(again), start) == []
        torch.rand(7)  # what the process draws beside is none of the trial's business
        assert differences(losses_of(again, STEPS // 2), early) == []
        assert differences(saved(again), stopped) == []

        resumed = trainer_of(config, images)
        resumed.load_state_dict(stopped)
        assert differences(losses_of(resumed, STEPS // 2), late) == []
        assert differences(saved(resumed), saved(first)) == []
        for name, network in networks(first).items():  # with what no state holds: frozen parts
            assert differences(network.state_dict(), networks(resumed)[name].state_dict()) == []
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(value.isfinite() and not value.requires_grad for step in [*early, *late] for value in step.values())
    # The comparison can fail: what there is of state has moved since the stop.
    parts = {part for part, state in stopped.items() if state and part != "backbone"}
    assert moved == parts


@every_trial
def test_what_is_trained_moves_and_what_is_frozen_stays(images: Pair, config: TrialConfig) -> None:
    trainer = trainer_of(config, images)
    before = {name: {k: v.clone() for k, v in network.state_dict().items()} for name, network in networks(trainer).items()}
    losses = losses_of(trainer, STEPS)
    expected = {"d_loss", "g_loss", "feature_distance"}
    if ADVERSARIAL[config.adversarial].boundary:
        expected |= {"d_accuracy"}
    if config.reconstruction.weight:
        expected |= {"reconstruction"}
    assert expected <= losses[-1].keys()
    for name, network in networks(trainer).items():
        parameters = dict(network.named_parameters())
        trained = {key for key, parameter in parameters.items() if key in _trained(trainer, name)}
        still = {key for key, parameter in parameters.items() if torch.equal(parameter, before[name][key])}
        shift = {key for key in trained if parameters[key].numel() == 1 and _ignores_a_shift(config.adversarial)}
        assert still & trained <= shift, f"trained parameters of the {name} that stay: {sorted(still & trained - shift)}"
        assert parameters.keys() - trained <= still, f"frozen parameters of the {name} that move"
        statistics = {key for key in before[name] if "running_" in key}
        assert all(torch.equal(network.state_dict()[key], before[name][key]) for key in statistics)


def _trained(trainer: GanTrainer, name: str) -> set[str]:
    optimizer = {"generator": trainer.generator_optimizer, "discriminator": trainer.discriminator_optimizer}[name]
    own = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return {key for key, parameter in networks(trainer)[name].named_parameters() if id(parameter) in own}


def _ignores_a_shift(adversarial: str) -> bool:
    """Whether the loss looks at differences of logits alone, so that D's last bias, a single number, does not matter."""
    real, fake = [torch.tensor([0.3, -1.0])], [torch.tensor([0.7, 0.2])]
    loss = ADVERSARIAL[adversarial].discriminator
    return bool(torch.isclose(loss(real, fake), loss([real[0] + 1], [fake[0] + 1])))


# Workers.


@pytest.fixture(scope="module")
def one(images: Pair) -> dict[str, Any]:
    """What one worker makes of every trial."""
    return {name: trained(images, config, alone()) for name, config in TRIALS.items()}


@pytest.fixture(scope="module", params=[2, 3])
def group(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two and three workers make of every trial: all by one group, as starting it takes long."""
    return run_group(request.param, (of_workers,), tmp_path_factory.mktemp("group"))["of_workers"]


def flat(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([torch.zeros(0), *(x.double().flatten() for x in state.values())])


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIALS)
def test_workers_train_like_one(group: list[dict[str, Any]], one: dict[str, Any], name: str) -> None:
    """Two or three workers with their share of the batch each end where one with all of it does, and all at the same place.

    They add up a batch in another order, no more: in float64, 1e-14 of the way that training went, and 3e-9 for Wasserstein's D,
    whose last bias has a gradient that is 0 but for rounding, which Adam makes a step of. Allowed: 1e-7. In float32 it is 1e-5,
    and 1e-1 where rounding decides which sample is nearest or on which side of a ReLU's corner a feature is; a wrong gradient
    would show there as little as here it would hide.
    """
    got, wanted = group[0][name], one[name]
    assert len(set(got["digests"])) == 1, "the workers' networks are the same bit for bit"
    for part, end in wanted["end"].items():
        assert got["end"][part].keys() == end.keys()
        if part in ("generator", "ema", "discriminator"):
            way = (flat(end) - flat(wanted["start"][part])).norm()
            assert float((flat(got["end"][part]) - flat(end)).norm() / way) < 1e-7, part
        else:
            torch.testing.assert_close(flat(got["end"][part]), flat(end), rtol=1e-7, atol=1e-9)
    for step, expected in zip(got["losses"], wanted["losses"], strict=True):
        assert step.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(step[key], value, rtol=1e-6, atol=1e-7, msg=key)


# Options of speed.

WITHOUT_WHOLE_BATCH_TERMS: dict[str, TrialConfig] = {
    "from noise": trial(
        "generation",
        "compact",
        "trunk",
        ("moments", "euclidean"),
        feature_loss={"layers": ()},
        regularisers=[{"name": name} for name in REGULARISERS if name != "lecam"],
        generator_regularisers=[{"name": name} for name in GENERATOR_REGULARISERS if name != "path_length"],
        adaptive=OPTIONS["adaptive augmentation"].adaptive,
    ),
    "from pictures": trial(
        "inpainting",
        "unet",
        {"name": "patch", "channels": 8, "layers": 1, "conditional": True},
        ("paired", "euclidean"),
        feature_loss={"layers": ()},
        adversarial="relativistic",
        regularisers=[{"name": "r1"}, {"name": "r2"}, {"name": "gradient_penalty"}],
        reconstruction={"weight": 10},
    ),
}


@pytest.mark.parametrize("name", WITHOUT_WHOLE_BATCH_TERMS)
def test_micro_batches_change_nothing_but_memory(images: Pair, name: str) -> None:
    whole = WITHOUT_WHOLE_BATCH_TERMS[name]
    in_parts = whole.model_copy(update={"speed": whole.speed.model_copy(update={"micro_batches": 3})})
    wanted, got = (trained(images, config, alone()) for config in (whole, in_parts))
    got["end"]["adaptive"].pop("count", None)  # it counts parts
    wanted["end"]["adaptive"].pop("count", None)
    for part in ("generator", "ema", "discriminator", "adaptive"):
        torch.testing.assert_close(flat(got["end"][part]), flat(wanted["end"][part]), rtol=1e-8, atol=1e-8)
    for step, expected in zip(got["losses"], wanted["losses"], strict=True):
        assert step.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(step[key], value, rtol=1e-6, atol=1e-7, msg=key)


def test_bfloat16_is_near_float32_and_keeps_float32_weights(images: Pair) -> None:
    config = OPTIONS["bfloat16"]
    assert config.speed.precision == "bfloat16"
    half = trainer_of(config, images)
    full = trainer_of(config.model_copy(update={"speed": config.speed.model_copy(update={"precision": "float32"})}), images)
    for step, (a, b) in enumerate(zip(losses_of(half, STEPS), losses_of(full, STEPS), strict=True)):
        assert a.keys() == b.keys()
        for key in a.keys() - {"d_accuracy"}:
            assert a[key].dtype == torch.float32
            assert float(a[key]) == pytest.approx(float(b[key]), rel=0.1, abs=0.02), (step, key)
        assert any(not torch.equal(a[key], b[key]) for key in a), "it was computed in another precision"
    for network in networks(half).values():
        assert all(p.dtype == torch.float32 for p in network.parameters())
    inputs = half.batches.at(0).inputs_g
    samples = [trainer.sample(inputs) for trainer in (half, full)]
    assert samples[0].dtype == torch.float32
    torch.testing.assert_close(*samples, rtol=0, atol=0.1)


def test_a_trial_in_bfloat16_goes_on_where_it_stopped(images: Pair) -> None:
    trainer, resumed = (trainer_of(OPTIONS["bfloat16"], images) for _ in range(2))
    losses_of(trainer, STEPS // 2)
    resumed.load_state_dict(saved(trainer))
    assert differences(saved(resumed), saved(trainer)) == []
    for a, b in zip(losses_of(resumed, 2), losses_of(trainer, 2), strict=True):
        assert {k: float(v) for k, v in a.items()} == pytest.approx({k: float(v) for k, v in b.items()}, rel=0.02, abs=0.01)


def test_channels_last_is_the_same_up_to_summation(images: Pair) -> None:
    config = TRIALS["pre-training"]
    laid_out = config.model_copy(update={"speed": config.speed.model_copy(update={"channels_last": True})})
    trainers = [trainer_of(c, images) for c in (config, laid_out)]
    kernels = [p for p in trainers[1].generator.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[-1] > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    for a, b in zip(*(losses_of(trainer, 2) for trainer in trainers), strict=True):
        for key in a:
            torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-6)


def test_pretraining_leaves_the_discriminator_alone(images: Pair) -> None:
    trainer = trainer_of(OPTIONS["pre-training"], images)
    start = saved(trainer)
    assert all("d_loss" not in step and "g_loss" not in step for step in losses_of(trainer, 2))
    assert differences(saved(trainer)["discriminator"], start["discriminator"]) == []
    assert differences(saved(trainer)["generator"], start["generator"]) != []
    assert trainer.phase == "discriminator"


def test_the_critic_is_trained_alone_before_it_judges(images: Pair) -> None:
    """For a fifth of what G had, rounded up to a step."""
    trainer = trainer_of(OPTIONS["pre-training"], images)
    losses_of(trainer, 2)
    start = saved(trainer)
    (losses,) = losses_of(trainer, 1)
    assert "d_loss" in losses
    assert "reconstruction" not in losses
    assert differences(saved(trainer)["generator"], start["generator"]) == []
    assert differences(saved(trainer)["discriminator"], start["discriminator"]) != []
    assert trainer.phase == "both"
    assert {"d_loss", "g_loss", "reconstruction"} <= trainer.step().keys()


def test_style_is_learnt_from_gram_matrices(images: Pair) -> None:
    losses = losses_of(trainer_of(OPTIONS["style"], images), 1)[0]
    assert float(losses["style_distance"]) > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adaptive": OPTIONS["adaptive augmentation"].adaptive, "augment": ()}, r"adaptive: needs policies in augment whose"),
        (
            {"regularisers": [{"name": "r1"}, {"name": "feature_distillation"}]},
            r"regularisers\.1: feature_distillation needs a discriminator that tunes a pretrained trunk, but got 'patch'",
        ),
        (
            {"generator_regularisers": [{"name": "l2_sp"}, {"name": "path_length"}]},
            r"generator_regularisers\.1: path_length needs a generator made of styles \(stylegan2, .*\), but got 'compact'",
        ),
    ],
)
def test_what_would_have_no_effect_or_fail_in_the_first_step_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trial("generation", "compact", "patch", ("moments", "euclidean"), **changes)
