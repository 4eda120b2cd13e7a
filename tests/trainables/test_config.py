"""TrialConfig: everything wrong is said at construction; the clock is right to the step."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from trainables.backbones import BACKBONES
from trainables.config import TrialConfig
from trainables.registry import Registry, unknown_name


def config(**changes: Any) -> TrialConfig:
    return TrialConfig(**({"resolution": 32, "kimg": 1, "evaluation": {"metric": "fid"}} | changes))


WRONG = {
    "unknown key": ({"lr": 1}, "Extra inputs are not permitted"),
    "unknown nested key": ({"optimizer": {"lr": 1}}, "Extra inputs are not permitted"),
    "unknown backbone": ({"backbone": "vgg61"}, "unknown backbone 'vgg61'; did you mean"),
    "unknown discriminator": ({"discriminator": {"name": "patches"}}, "does not match any of the expected tags"),
    "a layer of another backbone": (
        {"feature_loss": {"layers": ("features.3",)}},
        "feature_loss.layers: unknown layer of efficientnet_lite0 'features.3'",
    ),
    "frozen too deep": (
        {"backbone": "resnet18", "discriminator": {"name": "trunk", "frozen_depth": 5}},
        r"discriminator.frozen_depth: must be <= 4, the stages of resnet18, but got 5",
    ),
    "too many scales": (
        {"discriminator": {"name": "projected", "scales": 6}},
        r"discriminator.scales: must be <= 5, the stages of efficientnet_lite0, but got 6",
    ),
    "a resolution the generator cannot make": (
        {"resolution": 48},
        "resolution of compact must be a power of two >= 8, but got 48",
    ),
    "endless": ({"kimg": float("inf")}, "finite number"),
    "no images": ({"batch_size": 0}, "greater than or equal to 1"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)


def test_all_problems_of_a_backbone_are_said_together() -> None:
    with pytest.raises(ValidationError) as caught:
        config(
            feature_loss={"layers": ("x", "y")}, discriminator={"name": "trunk", "frozen_depth": 9, "scales": 9}, resolution=33
        )
    message = str(caught.value)
    for part in ("'x'", "'y'", "frozen_depth: must be <= 5", "scales: must be <= 5", "resolution: the resolution of compact"):
        assert part in message


@pytest.mark.parametrize("name", BACKBONES)
def test_every_layer_and_depth_of_every_backbone_is_taken(name: str) -> None:
    info = BACKBONES[name]
    trunk = {"name": "trunk", "frozen_depth": info.depth, "scales": info.depth}
    assert config(backbone=name, discriminator=trunk, feature_loss={"layers": info.layer_names}).backbone == name


def test_a_config_survives_json() -> None:
    one = config(discriminator={"name": "projected", "mixing": "none"}, feature_loss={"layers": ("blocks.1",)})
    assert TrialConfig.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize(
    ("kimg", "batch_size", "every_kimg", "steps"),
    [
        (1, 100, 0.5, [5, 10]),
        (1, 32, 0.5, [16, 32]),  # rounded up: the evaluation comes when that many images have been shown
        (0.5, 100, 0.1, [1, 2, 3, 4, 5]),  # 3 * 0.1 is a little more than 0.3
        (0.035, 7, 1, [5]),  # 0.035 * 1000 is a little more than 35
        (0.3, 100, 0.1, [1, 2, 3]),
        (1, 100, 0.3, [3, 6, 9, 10]),
        (0.01, 100, 5, [1]),
        (1, 1000, 0.1, [1]),
    ],
)
def test_evaluation_steps(kimg: float, batch_size: int, every_kimg: float, steps: list[int]) -> None:
    one = config(kimg=kimg, batch_size=batch_size, evaluation={"metric": "fid", "every_kimg": every_kimg})
    assert one.evaluation_steps() == steps
    assert one.total_steps == steps[-1]


@pytest.mark.parametrize("every_kimg", [0.05, 0.1, 0.15, 0.2, 0.35, 0.7])
@pytest.mark.parametrize("batch_size", [1, 10, 25, 50])
def test_evaluations_are_even_and_shared_by_runs_of_any_length(every_kimg: float, batch_size: int) -> None:
    """Trials are compared at the same kimg, so a longer run has the rungs of a shorter one."""
    evaluation = {"metric": "fid", "every_kimg": every_kimg}
    runs = [config(kimg=every_kimg * n, batch_size=batch_size, evaluation=evaluation).evaluation_steps() for n in (1, 3, 10)]
    assert [len(steps) for steps in runs] == [1, 3, 10]
    assert runs[2][:3] == runs[1]
    per_evaluation = every_kimg * 1000 / batch_size
    if per_evaluation == round(per_evaluation):
        assert runs[2] == [round(per_evaluation) * n for n in range(1, 11)]


def test_a_registry_names_the_nearest() -> None:
    registry = Registry("fruit", {"apple": 1, "pear": 2})
    assert registry["pear"] == 2
    assert list(registry) == ["apple", "pear"]
    assert "plum" not in registry
    with pytest.raises(ValueError, match=r"unknown fruit 'aple'; did you mean 'apple'\? Valid: apple, pear"):
        registry["aple"]
    assert unknown_name("fruit", "zzz", ["apple"]) == "unknown fruit 'zzz'. Valid: apple"


def test_another_reconstruction_loss_keeps_the_tasks_weight() -> None:
    restoring = config(task="denoising", reconstruction={"name": "charbonnier"}, evaluation={"metric": "psnr[n=8]"})
    assert restoring.reconstruction.name == "charbonnier"
    assert restoring.reconstruction.weight == 100
    assert restoring.optimizer.beta1 == 0.9
    assert config(task="denoising", discriminator={"name": "trunk"}).discriminator.conditional is False


@pytest.mark.parametrize("adversarial", ["wasserstein", "relativistic"])
def test_adaptive_augmentation_needs_a_loss_that_divides_real_from_fake(adversarial: str) -> None:
    adaptive = {"adaptive": {}, "augment": ["translation"]}
    assert config(**adaptive).adaptive
    with pytest.raises(ValidationError, match=f"adaptive: counts the real images .*hinge.* got '{adversarial}'"):
        config(**adaptive, adversarial=adversarial)


def test_a_pipeline_of_stylegan2_ada_is_named_by_its_letters() -> None:
    one = config(augment="bgc", adaptive={})
    assert one.augment == ("ada_blit", "ada_geometric", "ada_color")
    assert TrialConfig.model_validate_json(one.model_dump_json()) == one
    with pytest.raises(ValidationError, match="unknown pipeline of augmentations 'bgd'; did you mean 'bg'"):
        config(augment="bgd", adaptive={})


def test_ada_s_augmentations_do_not_happen_to_every_picture() -> None:
    assert config(augment=["color"]).augment_p == 1
    assert config(augment=["ada_blit"], augment_p=0.5).augment_p == 0.5
    with pytest.raises(ValidationError, match="augment: ada_blit must not happen to every picture"):
        config(augment=["color", "ada_blit"])
    with pytest.raises(ValidationError, match=r"augment_p: is for where nothing adapts it, but adaptive is given beside 0\.5"):
        config(augment=["ada_blit"], augment_p=0.5, adaptive={})
