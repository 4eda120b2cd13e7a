"""A network folded to one of its classes is the official network given that class."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.trainables.source.official import dumped, snapshot, truth
from tests.trainables.source.test_stylegan_pickle import close, discriminator_of
from trainables.source import Source, generator_of, of_class, open_source

NAME = "stylegan2_conditional"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    file = tmp_path_factory.mktemp("official") / "network.pkl"
    file.write_bytes(dumped(snapshot(NAME)))
    return open_source(file)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_pictures_and_logits_are_those_of_the_class(source: Source, label: int) -> None:
    folded = of_class(source, label)
    z = torch.as_tensor(truth(NAME)["z"])
    labels = F.one_hot(torch.full((8,), label), 3).float()
    for psi in (1.0, 0.5):
        close(generator_of(folded)(z, truncation=psi), generator_of(source)(z, labels, truncation=psi), 1e-5)
    images = torch.randn(8, 3, 32, 32)
    (found,), (expected,) = discriminator_of(folded)(images), discriminator_of(source)(images, None, labels)
    close(found, expected, 1e-5)
    assert folded.metadata == source.metadata | {"label": label}
    assert folded.generator == (source.generator or {}) | {"c_dim": 0}
    assert folded.discriminator == (source.discriminator or {}) | {"c_dim": 0}


@pytest.mark.parametrize("label", [0, 1, 2])
def test_they_are_the_official_code_s_pictures(source: Source, label: int) -> None:
    of_it = truth(NAME)["c"].argmax(axis=1) == label
    assert of_it.any()
    z, images = (torch.as_tensor(truth(NAME)[key][of_it]) for key in ("z", "images"))
    close(generator_of(of_class(source, label))(z), images)


def test_the_source_stays_as_it_was(source: Source) -> None:
    before = {name: tensor.clone() for name, tensor in source.tensors.items()}
    of_class(source, 1)
    assert source.tensors.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in source.tensors.items())


@pytest.mark.parametrize("label", [-1, 3])
def test_no_such_class(source: Source, label: int) -> None:
    with pytest.raises(ValueError, match=f"label must be one of its generator's 3 classes, 0 to 2, but got {label}"):
        of_class(source, label)


def test_no_classes(source: Source) -> None:
    with pytest.raises(ValueError, match="its generator has no classes, so none can be chosen, but got label 0"):
        of_class(of_class(source, 0), 0)
