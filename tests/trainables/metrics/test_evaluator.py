from __future__ import annotations

import multiprocessing
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from tests.trainables.metrics.helpers import as_generator, load_tiny, noise_images, tiny_evaluator
from trainables.metrics.distances import frechet_distance, kernel_distance
from trainables.metrics.embedding import NotFiniteError, WorkerFailedError
from trainables.metrics.features import Extractor
from trainables.metrics.statistics import Statistics

# 101 images over 16 features and over 256: more and fewer images than dimensions; ragged shares for 2 and 3 workers.
METRICS = [
    "fid[tiny16,16px-bilinear,n=101]",
    "kid[tiny16,16px-bilinear,n=101]",
    "fid[tiny256,16px-bilinear,n=101]",
    "fid[tiny16,12px-tf1,n=37]",
]
REAL = noise_images(150, seed=1)
FAKE = noise_images(101, seed=2)


def _evaluate_in_group(rank: int, world_size: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=world_size)
    evaluator = tiny_evaluator(METRICS, REAL, Path(folder) / "cache", batch_size=16)
    seen: list[int] = []

    def generate(indices: Tensor) -> Tensor:
        seen.extend(indices.tolist())
        return as_generator(FAKE)(indices)

    values = evaluator(generate)
    again = evaluator(generate)
    try:
        evaluator(lambda indices: torch.full((len(indices), 3, 16, 16), torch.nan if rank == 1 else 0.0))
        outcome = "no error"
    except (NotFiniteError, WorkerFailedError) as error:
        outcome = str(error)
    torch.save((values, again, sorted(set(seen)), outcome), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_workers_agree_with_each_other_and_with_one_alone(tmp_path: Path) -> None:
    multiprocessing.set_forkserver_preload([__name__])  # torch is imported once and not by each of the 5 processes
    alone = tiny_evaluator(METRICS, REAL, tmp_path / "alone", batch_size=16)(as_generator(FAKE))
    for world_size in (2, 3):
        folder = tmp_path / str(world_size)
        folder.mkdir()
        start_processes(_evaluate_in_group, (world_size, str(folder)), nprocs=world_size, start_method="forkserver")
        results = [torch.load(folder / f"{rank}.pt") for rank in range(world_size)]
        for values, again, _, outcome in results:
            assert values == again == results[0][0]  # on every worker, and when it is warm
            assert values == pytest.approx(alone, rel=1e-9)
            assert "generated image" in outcome
            assert "hold NaN or infinity" in outcome
        assert set().union(*(seen for _, _, seen, _ in results)) == set(range(101))


def test_every_image_counts_once(tmp_path: Path) -> None:
    """101 is not a multiple of the batch: what fills the last batch must not enter the statistics."""
    values = tiny_evaluator(METRICS, REAL, tmp_path, batch_size=16)(as_generator(FAKE))
    extractor = Extractor("tiny16", 16, "bilinear", load_backbone=load_tiny, device=torch.device("cpu"))
    real, fake = extractor(REAL), extractor(FAKE)
    assert values[METRICS[0]] == pytest.approx(frechet_distance(Statistics.of(real), Statistics.of(fake)), rel=1e-5)
    assert values[METRICS[1]] == pytest.approx(kernel_distance(real, fake).value, rel=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 101, 200])
def test_the_batch_size_changes_no_more_than_rounding(tmp_path: Path, batch_size: int) -> None:
    """Float32 convolutions round differently for other batch sizes, so this is 1e-5 and not 1e-9."""
    expected = tiny_evaluator(METRICS, REAL, tmp_path / "a", batch_size=16)(as_generator(FAKE))
    assert tiny_evaluator(METRICS, REAL, tmp_path / "b", batch_size=batch_size)(as_generator(FAKE)) == pytest.approx(
        expected, rel=1e-5
    )


def test_the_real_images_themselves_have_distance_zero(tmp_path: Path) -> None:
    values = tiny_evaluator(["fid[tiny16,16px,n=150]", "fid[tiny256,16px,n=150]"], REAL, tmp_path)(as_generator(REAL))
    assert list(values.values()) == pytest.approx([0, 0], abs=1e-9)


def test_an_evaluation_leaves_global_state_alone(tmp_path: Path) -> None:
    evaluator = tiny_evaluator(METRICS, REAL, tmp_path)
    before = torch.random.get_rng_state(), torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    evaluator(as_generator(FAKE))
    after = torch.random.get_rng_state(), torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_a_bad_image_is_named(tmp_path: Path) -> None:
    evaluator = tiny_evaluator(METRICS[:1], REAL, tmp_path, batch_size=16)

    def generate(indices: Tensor) -> Tensor:
        images = as_generator(FAKE)(indices)
        images[indices == 77] = torch.nan
        return images

    with pytest.raises(NotFiniteError, match=re.escape("generated image 77 hold")):
        evaluator(generate)


def test_nan_features_name_their_image(tmp_path: Path) -> None:
    def load_broken(name: str) -> torch.nn.Module:
        network = load_tiny(name)
        network.register_forward_hook(lambda _, inputs, out: {"x": out["second"] / (inputs[0].mean((1, 2, 3), True) + 1).sign()})
        return network

    evaluator = tiny_evaluator(METRICS[:1], REAL, tmp_path, batch_size=16)
    evaluator._extractors[("tiny16", 16, "bilinear")].network = load_broken("tiny16")
    black = FAKE.clone()
    black[42] = 0
    with pytest.raises(NotFiniteError, match="tiny16 features of image 42 "):
        evaluator(as_generator(black))


COPIED, OTHERS = "copied[tiny256,16px-bilinear,n=150]", ["fid[tiny256,16px-bilinear,n=150]", "kid[tiny256,16px-bilinear,n=150]"]


@pytest.mark.parametrize("seen", [REAL, REAL.flip(-1)], ids=["as they are", "mirrored"])
def test_copies_of_the_real_images_are_seen(tmp_path: Path, seen: Tensor) -> None:
    for _ in range(2):  # the second time from the cache
        assert tiny_evaluator([COPIED], REAL, tmp_path)(as_generator(seen)) == {COPIED: 1}
    assert tiny_evaluator([COPIED], REAL, tmp_path)(as_generator(noise_images(150, seed=9)))[COPIED] < 0.05


def test_mirror_images_are_embedded_for_the_metric_that_looks_at_them_only(tmp_path: Path) -> None:
    """Its neighbours' values and cached statistics are what they were; theirs are read by it, not built again."""
    told: list[str] = []
    progress = {"progress": lambda what, done, total: told.append(what)}
    alone = tiny_evaluator(OTHERS, REAL, tmp_path, **progress)(as_generator(FAKE[torch.arange(150) % 101]))
    assert set(told) == {"real", "generated"}
    files = {file: file.read_bytes() for file in tmp_path.glob("*.safetensors")}
    told.clear()
    beside = tiny_evaluator([*OTHERS, COPIED], REAL, tmp_path, **progress)(as_generator(FAKE[torch.arange(150) % 101]))
    assert set(told) == {"mirrored", "generated"}
    assert alone == {name: beside[name] for name in OTHERS}
    assert {file: file.read_bytes() for file in files} == files
    assert len(list(tmp_path.glob("*.safetensors"))) == len(files) + 1


def test_impossible_requests(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        tiny_evaluator([], REAL, tmp_path)
    with pytest.raises(ValueError, match="each named once"):
        tiny_evaluator(["fid[tiny16,16px,n=9]", "fid[tiny16,16px-bilinear,n=9]"], REAL, tmp_path)
    with pytest.raises(ValueError, match="at least 2 real images"):
        tiny_evaluator(METRICS[:1], REAL[:1], tmp_path)


def test_real_images_may_be_a_memory_map(tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "real.npy", REAL.numpy())
    mapped = np.load(tmp_path / "real.npy", mmap_mode="r")
    values = tiny_evaluator(METRICS[:1], mapped, tmp_path / "a")(as_generator(FAKE))
    assert values == tiny_evaluator(METRICS[:1], REAL, tmp_path / "b")(as_generator(FAKE))


def test_what_is_generated_is_kept_where_it_has_a_name(tmp_path: Path) -> None:
    """The same values, without making the images again; under another name, or from more of them, they are made."""
    seen: list[int] = []

    def generate(indices: Tensor) -> Tensor:
        seen.extend(indices.tolist())
        return as_generator(FAKE)(indices)

    evaluator = tiny_evaluator(METRICS[:3], REAL, tmp_path, batch_size=16)
    wanted = evaluator(generate)
    assert evaluator(generate, "a") == pytest.approx(wanted, rel=1e-9)
    seen.clear()
    assert evaluator(generate, "a") == tiny_evaluator(METRICS[:3], REAL, tmp_path, batch_size=16)(generate, "a")
    assert seen == []
    evaluator(generate, "b")
    assert set(seen) == set(range(101))
    seen.clear()
    tiny_evaluator(["fid[tiny16,16px-bilinear,n=50]"], REAL, tmp_path, batch_size=16)(generate, "a")
    assert set(seen) == set(range(50))
