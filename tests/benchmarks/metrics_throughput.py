"""From two folders of real pictures to their FID: images per second of gansweep and of torch-fidelity, taking turns.

    python -m tests.benchmarks.metrics_throughput [--images 64] [--runs 3] [--threads 2]

Both read the same PNG files, use the same Inception weights and TensorFlow 1's resize, and start with empty caches. What is timed
is everything after the imports: loading weights, decoding, embedding, distance. ``embedding`` is the network's share alone, on
images that are already in memory, by CPU time (meaningless with a GPU).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
import torch_fidelity
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from tests.trainables.metrics.helpers import emoji
from tests.trainables.metrics.reference import reference_weights
from trainables.collective import Collective
from trainables.data import DataOptions, load_dataset
from trainables.metrics import Evaluator
from trainables.metrics.features import Extractor


def write_folder(folder: Path, images: torch.Tensor) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:05d}.png")
    return folder


def no_backbone(name: str) -> torch.nn.Module:
    raise ValueError(f"only Inception is used here, not {name}")


def gansweep_fid(real: Path, generated: Path, cache: Path, count: int, device: torch.device) -> float:
    a, b = (load_dataset(DataOptions(path=str(folder), resolution=72), cache) for folder in (real, generated))
    name = f"fid[inception,299px-tf1,n={count}]"
    evaluator = Evaluator(
        [name], a.real_images, a.content_hash, load_backbone=no_backbone, cache_dir=cache, collective=Collective(), device=device
    )  # fmt: skip
    return evaluator(lambda indices: b.batch(indices, device))[name]


def torch_fidelity_fid(real: Path, generated: Path, weights: Path, device: torch.device) -> float:
    result = torch_fidelity.calculate_metrics(
        input1=str(generated), input2=str(real), cuda=device.type == "cuda", fid=True, verbose=False, cache=False,
        feature_extractor_weights_path=str(weights),
    )  # fmt: skip
    return float(result["frechet_inception_distance"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    count, device = options.images, torch.device(options.device)
    times: dict[str, list[float]] = {"gansweep": [], "torch-fidelity": []}
    embedding: dict[str, list[float]] = {"gansweep": [], "torch-fidelity": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = reference_weights(folder / "inception.pth")
        real = write_folder(folder / "real", emoji(count))
        generated = write_folder(folder / "generated", emoji(count, start=count))
        values = {}
        ours = Extractor("inception", 299, "tf1", load_backbone=no_backbone, device=device)
        theirs = FeatureExtractorInceptionV3("theirs", ["2048"], feature_extractor_weights_path=str(weights)).to(device)
        batch = emoji(32)
        for run in range(options.runs):
            started = time.perf_counter()
            values["gansweep"] = gansweep_fid(real, generated, folder / f"cache{run}", count, device)
            between = time.perf_counter()
            values["torch-fidelity"] = torch_fidelity_fid(real, generated, weights, device)
            ended = time.perf_counter()
            times["gansweep"].append(between - started)
            times["torch-fidelity"].append(ended - between)
            for name, embed in (("gansweep", ours), ("torch-fidelity", theirs)):
                started = time.process_time()
                embed(batch.to(device))[0].cpu()
                embedding[name].append(time.process_time() - started)
    print(f"2 x {count} PNG files of 72 x 72 pixels, {device}, {options.threads} threads, median of {options.runs}")
    print(f"{'':16}{'seconds':>10}{'images/s':>10}{'ratio':>8}{'images per CPU s':>20}{'ratio':>8}   FID")
    slowest, alone = statistics.median(times["torch-fidelity"]), statistics.median(embedding["torch-fidelity"])
    for name in times:
        seconds, part = statistics.median(times[name]), statistics.median(embedding[name])
        print(
            f"{name:16}{seconds:10.2f}{2 * count / seconds:10.2f}{slowest / seconds:7.2f}x{32 / part:20.2f}"
            f"{alone / part:7.2f}x   {values[name]:.6f}"
        )


if __name__ == "__main__":
    main()
