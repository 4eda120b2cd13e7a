"""StyleGAN3's generator against the official networks' numbers, and against what its paper promises."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.trainables.official import Truth, relative_error
from trainables.generators.frame import Frame
from trainables.generators.stylegan3 import StyleGan3Generator, StyleGan3Options

both = pytest.mark.parametrize("name", ["stylegan3_t", "stylegan3_r"])


def loaded(name: str) -> tuple[Truth, StyleGan3Generator]:
    truth = Truth(name)
    generator = truth.stylegan3()
    generator.load_state_dict(truth.state("G"))
    return truth, generator


@both
def test_filters_are_those_of_the_official_network(name: str) -> None:
    truth = Truth(name)
    ours, theirs = truth.stylegan3().state_dict(), truth.state("G")
    filters = [key for key in theirs if key.endswith("_filter")]
    assert len(filters) == 12
    for key in filters:
        assert relative_error(ours[key], theirs[key]) < 1e-6, key


@both
def test_styles_pictures_and_gradients_are_those_of_the_official_network(name: str) -> None:
    truth, generator = loaded(name)
    z = truth["z"].clone().requires_grad_()
    assert relative_error(generator.mapping(z), truth["w"]) < 1e-5
    images = generator(z)
    assert relative_error(images, truth["images"]) < 1e-5
    assert relative_error(generator(z, truncation=0.5), truth["images_truncated_0.5"]) < 1e-5
    (gradient,) = torch.autograd.grad((images * truth["probe"]).sum(), z)
    assert relative_error(gradient, truth["gradient_of_probe_by_z"]) < 1e-5


@both
def test_it_has_no_noise(name: str) -> None:
    truth, generator = loaded(name)
    with torch.no_grad():
        assert torch.equal(generator(truth["z"], noise="random"), generator(truth["z"], noise="const"))


def names(resolution: int, **options: object) -> list[str]:
    with torch.device("meta"):
        generator = StyleGan3Generator(StyleGan3Options(**options), Frame(resolution), None)  # type: ignore[arg-type]
    return generator.synthesis.names


def test_layers_have_the_names_of_published_networks() -> None:
    """Their sizes and channels, as users of the official code have listed them. At 256 px one rate is decided by rounding."""
    t = "L0_36_512 L1_36_512 L2_36_512 L3_52_512 L4_52_512 L5_84_512 L6_84_512 L7_148_512 L8_148_512 L9_148_362 "
    assert names(256) == (t + "L10_276_256 L11_276_181 L12_276_128 L13_256_128 L14_256_3").split()
    r = names(128, channel_base=65536, channel_max=1024, conv_kernel=1, use_radial_filters=True)
    assert r[8:] == ["L8_84_1024", "L9_148_1024", "L10_148_912", "L11_148_683", "L12_148_512", "L13_128_512", "L14_128_3"]


def moved(generator: StyleGan3Generator, z: Tensor, transform: list[list[float]]) -> Tensor:
    generator.synthesis.input.transform.copy_(torch.tensor(transform))
    with torch.no_grad():
        return generator(z)


def rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


@both
@pytest.mark.parametrize("shift_px", [1, 2, 5])
def test_a_shift_of_the_input_shifts_the_picture(name: str, shift_px: int) -> None:
    """Also by one pixel, which is half a sample of the first layers'. The paper measures this as EQ-T."""
    truth, generator = loaded(name)
    with torch.no_grad():
        still = generator(truth["z"])
    shifted = moved(generator, truth["z"], [[1, 0, -shift_px / 32], [0, 1, 0], [0, 0, 1]])
    assert rms(shifted - still) > 0.05 * rms(still)
    assert rms(shifted[..., shift_px:] - still[..., :-shift_px]) < 1e-4 * rms(still)


def test_a_quarter_turn_of_the_input_turns_the_pictures_of_configuration_r() -> None:
    truth, generator = loaded("stylegan3_r")
    with torch.no_grad():
        still = generator(truth["z"])
    turned = moved(generator, truth["z"], [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert rms(turned - still) > 0.5 * rms(still)
    assert rms(turned - torch.rot90(still, 1, (2, 3))) < 1e-5 * rms(still)


def small(**options: object) -> StyleGan3Generator:
    shape = {"z_dim": 4, "w_dim": 4, "channel_base": 16, "channel_max": 4, "num_layers": 3, "num_critical": 1, "margin_size": 2}
    return StyleGan3Generator(StyleGan3Options(**(shape | options)), Frame(8), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"conv_kernel": 1, "use_radial_filters": True}, {"c_dim": 2, "clamp": None}])
def test_first_and_second_derivatives(options: dict[str, object]) -> None:
    """As path-length regularisation and R1 on generated pictures take them."""
    torch.manual_seed(0)
    generator = small(**options).double()
    labels = torch.eye(2, dtype=torch.float64) if "c_dim" in options else None
    z = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)

    def pictures(z: Tensor) -> Tensor:
        return generator(z, labels)

    assert torch.autograd.gradcheck(pictures, z, fast_mode=True)
    assert torch.autograd.gradgradcheck(pictures, z, fast_mode=True)


def test_bfloat16_moves_the_waves_by_nothing() -> None:
    """Phases are computed in float32; the layers that follow in bfloat16 give the same picture but for its resolution."""
    truth, generator = loaded("stylegan3_t")
    with torch.no_grad():
        w = generator.mapping(truth["z"])
        wanted = generator.synthesis.input(w)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(generator.synthesis.input(w), wanted)
            images = generator(truth["z"])
    assert images.dtype == torch.float32
    assert rms(images - truth["images"]) < 0.02 * rms(truth["images"])


@pytest.mark.parametrize("resolution", [4, 12, 48])
def test_a_resolution_that_is_no_power_of_two_is_refused(resolution: int) -> None:
    with pytest.raises(ValueError, match=rf"resolution of stylegan3 must be a power of two >= 8, but got {resolution}"):
        StyleGan3Generator(StyleGan3Options(), Frame(resolution), None)  # type: ignore[arg-type]


def test_a_resolution_that_holds_no_more_than_the_first_layer_is_refused() -> None:
    options = StyleGan3Options(first_cutoff=4, first_stopband=9)
    problem = StyleGan3Generator.unfit(options, Frame(8), None)
    assert problem == "the resolution of stylegan3 must be a power of two >= 16, but got 8"
    assert StyleGan3Generator.unfit(options, Frame(16), None) is None


def test_pictures_are_made_from_noise_alone() -> None:
    problem = StyleGan3Generator.unfit(StyleGan3Options(), Frame(32, in_channels=3), None)
    assert problem == "stylegan3 makes images from noise, but the task gives it images of 3 channels"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 4, "num_critical": 4}, "num_critical < num_layers must hold, but got 4 and 4"),
        ({"first_cutoff": 5.0}, r"first_cutoff < first_stopband must hold, but got 5.0 and 4.28"),
        ({"lrelu_upsampling": 3}, "multiple of 2"),
    ],
)
def test_options_that_make_no_filter_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        StyleGan3Options(**options)
