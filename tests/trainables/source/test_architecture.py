"""The source decides the architecture: what a trial's networks are that says nothing of them, and what is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.small import differences
from trainables.checkpoint import TrialFiles
from trainables.config import TrialConfig
from trainables.data import ImageDataset
from trainables.discriminators import DISCRIMINATORS
from trainables.gan import GanTrainer
from trainables.generators import GENERATORS, Frame
from trainables.pictures import png
from trainables.source import save_source
from trainables.storage import Storage

WIDTHS = {"channel_base": 128, "channel_max": 16}
G = GENERATORS["stylegan2"].Options(z_dim=12, w_dim=10, mapping_layers=3, style_mixing=0.9, **WIDTHS)
D = DISCRIMINATORS["stylegan2"].Options(mbstd_group=2, **WIDTHS)
GROUP = {"mbstd_group": 2}


def write(folder: Path, resolution: int, augment_p: float | None = None, **of_generator: Any) -> Path:
    """A source of a StyleGAN2 that makes pictures of this size."""
    options = G.model_copy(update=of_generator)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        generator = GENERATORS["stylegan2"](options, Frame(resolution), pytest.fail)
        discriminator = DISCRIMINATORS["stylegan2"](D, pytest.fail, 0, resolution)
    file = folder / f"{resolution}px.safetensors"
    said = {"generator": options.model_dump(), "discriminator": D.model_dump(), "resolution": resolution}
    said |= {} if augment_p is None else {"augment_p": augment_p}
    save_source(file, generator, {"stylegan2": discriminator}, said, torch.float32)
    return file


def trainer(dataset: ImageDataset, source: Path, **changes: Any) -> GanTrainer:
    fixed = {"resolution": 32, "kimg": 0.1, "batch_size": 8, "evaluation": {"metric": "fid[efficientnet_lite1,64px,n=32]"}}
    return GanTrainer(TrialConfig(source=str(source), **fixed, **changes), dataset)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path, 32)


def test_a_trial_that_says_nothing_has_the_source_s_networks(dataset: ImageDataset, source: Path) -> None:
    made = trainer(dataset, source, discriminator=GROUP)
    assert made.config.generator == G.model_copy(update={"style_mixing": 0.0}), "how it was trained is not handed on"
    assert made.config.discriminator == D
    again = GENERATORS["stylegan2"](G, Frame(32), pytest.fail)
    assert made.source_report is not None
    assert made.source_report.generator_share == 1
    assert made.source_report.problem() is None
    assert made.generator.state_dict().keys() == again.state_dict().keys()


def test_a_trial_may_say_how_they_are_trained_or_take_another_discriminator(dataset: ImageDataset, source: Path) -> None:
    made = trainer(dataset, source, generator={"adapt": "lora", "miner_layers": 1}, discriminator=GROUP | {"frozen_depth": 2})
    assert (made.config.generator.w_dim, made.config.generator.adapt) == (10, "lora")
    assert (made.config.discriminator.channel_base, made.config.discriminator.frozen_depth) == (128, 2)
    made = trainer(dataset, source, discriminator={"name": "patch", "layers": 1})
    assert made.config.discriminator.name == "patch"
    members = [{"name": "stylegan2", "mbstd_group": 2}, {"name": "projected", "scales": 2}]
    made = trainer(dataset, source, discriminator={"name": "ensemble", "members": members})
    own, _ = made.config.discriminator.members
    assert own == D
    alone = trainer(dataset, source, discriminator=GROUP)
    assert differences(made.discriminator.members[0].state_dict(), alone.discriminator.state_dict()) == []  # type: ignore[union-attr, index]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"discriminator": GROUP | {"architecture": "skip"}},
            r"not in the source: .*stylegan2\.b16 \(2\).*alone: .*stylegan2\.b32 \(1\)",
        ),
        ({"generator": {"mapping_layers": 4}}, r"not in the source: generator\.mapping\.fc3 \(2\)"),
        ({"generator": {"w_dim": 8}}, r"of another shape: generator\.mapping\.w_avg \(1\), .*generator\.synthesis\.b4 \(2\)"),
        ({"generator": {"architecture": "resnet"}}, r"not in the source: .*synthesis\.b8 \(1\).*alone: .*synthesis\.b4 \(4\)"),
        ({"discriminator": GROUP | {"channel_max": 8}}, r"of another shape: discriminator\.stylegan2\.b16 \(3\)"),
    ],
)
def test_what_a_trial_overrides_must_fit(dataset: ImageDataset, source: Path, changes: dict[str, Any], said: str) -> None:
    changes = {"discriminator": GROUP} | changes
    with pytest.raises(ValueError, match=rf"32px\.safetensors does not fit these networks \(.*{said}"):
        trainer(dataset, source, **changes)
    told = pytest.warns(UserWarning, match="of the .* tensors of G") if "generator" in changes else contextlib.nullcontext()
    with told:
        made = trainer(dataset, source, source_fit="partial", **changes)
    assert made.source_report is not None
    assert made.source_report.problem() is not None


def test_of_a_larger_source_the_upper_blocks_are_left_out(dataset: ImageDataset, tmp_path: Path) -> None:
    source = write(tmp_path, 128)
    made = trainer(dataset, source, discriminator=GROUP)
    report = made.source_report
    assert report is not None
    assert report.problem() is None
    assert report.generator_share == 1
    assert {name.split(".")[2] for name in report.cut} == {"b64", "b128"}
    fresh = {"discriminator.stylegan2.b32.fromrgb.weight", "discriminator.stylegan2.b32.fromrgb.bias"}
    assert set(report.missing) == fresh, "it reads the picture where no block did"
    made.step()


def test_of_a_smaller_source_the_upper_blocks_are_missing(dataset: ImageDataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not in the source: generator\.synthesis\.b32"):
        trainer(dataset, write(tmp_path, 16), discriminator=GROUP)


def test_a_network_with_classes_is_refused_with_the_way_out(dataset: ImageDataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"generator\.c_dim: .*import.*--label"):
        trainer(dataset, write(tmp_path, 32, c_dim=3), discriminator=GROUP)


def test_ada_goes_on_with_the_p_of_the_source(dataset: ImageDataset, tmp_path: Path) -> None:
    source = write(tmp_path, 32, augment_p=0.375)
    changes = {"discriminator": GROUP, "augment": ["ada_blit"]}
    for adaptive, p in (({}, 0.375), ({"initial_p": 0.5}, 0.5)):
        made = trainer(dataset, source, adaptive=adaptive, **changes)
        assert made.adaptive is not None
        assert float(made.adaptive.p) == p


def test_r1_of_an_ensemble_is_of_the_member_without_a_pretrained_network(dataset: ImageDataset, source: Path) -> None:
    """As of that member alone: the sum over a trunk's hundreds of logits would be flattened by a γ that is for one."""
    penalties = []
    for members in ([GROUP], [GROUP, {"name": "projected", "scales": 2}], [GROUP, {"name": "patch", "layers": 1}]):
        named = [{"name": "stylegan2", **m} if "name" not in m else m for m in members]
        discriminator = named[0] if len(named) == 1 else {"name": "ensemble", "members": named}
        made = trainer(dataset, source, discriminator=discriminator, augment=(), regularisers=[{"name": "r1", "every": 1}])
        penalties.append(float(made.step()["r1"]))
    alone, beside_a_trunk, beside_another = penalties
    assert beside_a_trunk == pytest.approx(alone, rel=1e-4)
    assert beside_another > alone * 1.001


def checkpoint(dataset: ImageDataset, folder: Path, discriminator: dict[str, Any]) -> tuple[GanTrainer, Path]:
    """A trial's checkpoint, from scratch."""
    widths = {"name": "stylegan2", **WIDTHS}
    fixed = {"resolution": 32, "kimg": 0.1, "batch_size": 8, "evaluation": {"metric": "fid[efficientnet_lite1,64px,n=32]"}}
    made = GanTrainer(TrialConfig(generator=widths | {"z_dim": 8, "w_dim": 8}, discriminator=discriminator, **fixed), dataset)
    told = made.config.model_dump(mode="json")
    TrialFiles(Storage(folder)).save(made.state_dict(), {"step": 2}, png(torch.zeros(3, 8, 8).byte()), is_best=True, config=told)
    return made, folder / "checkpoint_00000002.pt"


def test_members_of_a_checkpoint_s_ensemble_can_be_had_by_themselves(dataset: ImageDataset, tmp_path: Path) -> None:
    own = {"name": "stylegan2", **GROUP, **WIDTHS}
    members = [own, {"name": "projected", "scales": 2, "head_channels": 8}]
    before, file = checkpoint(dataset, tmp_path, {"name": "ensemble", "members": members})
    first, second = before.discriminator.members  # type: ignore[misc, union-attr]
    alone = trainer(dataset, file, discriminator={"name": "stylegan2", **GROUP})
    assert alone.config.discriminator.channel_base == WIDTHS["channel_base"]
    assert differences(alone.discriminator.state_dict(), first.state_dict()) == []
    again = trainer(dataset, file, discriminator={"name": "ensemble"})
    assert [member.name for member in again.config.discriminator.members] == ["stylegan2", "projected"]
    for member, theirs in zip(again.discriminator.members, (first, second), strict=True):  # type: ignore[union-attr, arg-type]
        given = {name: value for name, value in theirs.state_dict().items() if name.startswith(("b", "heads."))}
        own_state = member.state_dict()
        assert all(torch.equal(own_state[name], value) for name, value in given.items() if not name.startswith("backbone."))


def test_a_projected_checkpoint_does_not_stand_beside_itself(dataset: ImageDataset, tmp_path: Path) -> None:
    _, file = checkpoint(dataset, tmp_path, {"name": "projected", "scales": 2, "head_channels": 8})
    made = trainer(dataset, file, discriminator={"name": "ensemble"})
    assert [member.name for member in made.config.discriminator.members] == ["patch", "projected"]


def test_what_is_new_in_a_frozen_block_is_trained(dataset: ImageDataset, tmp_path: Path) -> None:
    made = trainer(dataset, write(tmp_path, 64), discriminator=GROUP | {"frozen_depth": 2})
    trained = {name for name, parameter in made.discriminator.named_parameters() if parameter.requires_grad}
    assert {"b32.fromrgb.weight", "b32.fromrgb.bias"} <= trained
    assert "b32.conv0.weight" not in trained
    assert "b8.conv0.weight" in trained


def test_whether_d_sees_a_standard_deviation_is_the_source_s(dataset: ImageDataset, tmp_path: Path) -> None:
    _, file = checkpoint(dataset, tmp_path, {"name": "stylegan2", "minibatch_std": False, **WIDTHS})
    made = trainer(dataset, file)
    assert not made.config.discriminator.minibatch_std
    assert made.source_report is not None
    assert made.source_report.problem() is None


def test_a_source_s_miner_is_not_lost(dataset: ImageDataset, tmp_path: Path) -> None:
    source = write(tmp_path, 32, miner_layers=2)
    assert trainer(dataset, source, discriminator=GROUP).config.generator.miner_layers == 2
    for layers, said in ((3, "not in the source: generator.miner.layers"), (0, "in the source alone: generator.miner.layers")):
        with pytest.raises(ValueError, match=said):
            trainer(dataset, source, generator={"miner_layers": layers}, discriminator=GROUP)


def test_added_parts_do_not_make_a_whole_source_a_partial_one(dataset: ImageDataset, source: Path) -> None:
    made = trainer(dataset, source, generator={"adapt": "lora", "adapt_rank": 64, "miner_layers": 2}, discriminator=GROUP)
    assert made.source_report is not None
    assert made.source_report.generator_share == 1


def test_frozen_is_not_all(dataset: ImageDataset, source: Path) -> None:
    with pytest.raises(ValueError, match=r"frozen\.below of stylegan2 must be <= 32, the resolution, .* but got 64"):
        trainer(dataset, source, generator={"frozen": {"mapping": True, "below": 64}}, discriminator=GROUP)


DISTILLED = {"name": "feature_distillation"}


@pytest.mark.parametrize("generator", [{"adapt": "full"}, {"adapt": "affine"}, {"adapt": "lora"}, {"adapt": "scale_shift"}])
def test_what_looks_at_frozen_layers_of_g_alone_is_refused(
    dataset: ImageDataset, source: Path, generator: dict[str, Any]
) -> None:
    frozen = generator | {"frozen": {"mapping": True, "below": 16}}
    for layers in (1, 2):
        said = r"generator_regularisers\.0: feature_distillation would be 0 all the time, .* the first 2 layers of G are frozen"
        with pytest.raises(ValueError, match=said):
            trainer(dataset, source, generator=frozen, generator_regularisers=[DISTILLED | {"layers": layers}])
    for sees in (DISTILLED | {"layers": 3}, DISTILLED):
        assert _moves(dataset, source, "g_feature_distillation", generator=frozen, generator_regularisers=[sees])
    if generator["adapt"] == "full":
        sees = DISTILLED | {"layers": 1}
        for trained in ({"frozen": {"below": 16}}, frozen | {"miner_layers": 1}):
            assert _moves(dataset, source, "g_feature_distillation", generator=trained, generator_regularisers=[sees])


def test_what_looks_at_frozen_layers_of_d_alone_is_refused(dataset: ImageDataset, source: Path, tmp_path: Path) -> None:
    ensemble = {"name": "ensemble", "members": [{"name": "stylegan2", "frozen_depth": 2, **GROUP}, {"name": "projected"}]}
    for frozen in (GROUP | {"frozen_depth": 3}, {"name": "trunk", "frozen_depth": 5}, _frozen(ensemble, 3)):
        said = r"regularisers\.0: feature_distillation would be 0 all the time, .* frozen_depth keeps all layers of D"
        with pytest.raises(ValueError, match=said):
            trainer(dataset, source, discriminator=frozen, regularisers=[DISTILLED])
    for trained in (GROUP | {"frozen_depth": 2}, {"name": "trunk", "frozen_depth": 4}, ensemble):
        assert _moves(dataset, source, "feature_distillation", discriminator=trained, regularisers=[DISTILLED])
    larger = write(tmp_path, 64)  # whose D, cut, reads the picture by new weights
    assert _moves(dataset, larger, "feature_distillation", discriminator=GROUP | {"frozen_depth": 3}, regularisers=[DISTILLED])


@pytest.mark.parametrize("name", ["r1", "r2", "gradient_penalty", "lecam", "l2_sp"])
def test_what_looks_at_logits_or_weights_sees_the_last_layers_which_nothing_freezes(
    dataset: ImageDataset, source: Path, name: str
) -> None:
    discriminator = GROUP | {"frozen_depth": 3}
    assert _moves(dataset, source, name, discriminator=discriminator, regularisers=[{"name": name, "every": 1}], augment=[])


@pytest.mark.parametrize("name", ["path_length", "l2_sp"])
def test_of_g_the_last_block_is_trained_in_any_case(dataset: ImageDataset, source: Path, name: str) -> None:
    generator = {"adapt": "affine", "frozen": {"mapping": True, "constant": True, "below": 32}}
    terms = [{"name": name, "every": 1}]
    assert _moves(dataset, source, f"g_{name}", generator=generator, generator_regularisers=terms)


def _moves(dataset: ImageDataset, source: Path, name: str, **changes: Any) -> bool:
    """Whether a loss is there in three steps, and changes."""
    made = trainer(dataset, source, **{"discriminator": GROUP} | changes)
    return len({float(made.step()[name]) for _ in range(3)}) == 3


def _frozen(ensemble: dict[str, Any], depth: int) -> dict[str, Any]:
    own, *others = ensemble["members"]
    return ensemble | {"members": [own | {"frozen_depth": depth}, *others]}
