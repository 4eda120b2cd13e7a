"""What the arguments of the official StyleGAN networks' constructors are among our options.

Two forms: StyleGAN2-ADA's nests the synthesis network's arguments under ``synthesis_kwargs``; StyleGAN3's repository, for both of
its networks, gives them to the generator. An argument that changes the computation and has no option here is refused by name, an
argument that does not is left out by name, and any other is refused as unknown: none is passed over in silence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_TAPS = [1, 3, 3, 1]
# What it would take long to build, to hold or to run. No tensor's shape tells of the last three.
_LARGEST = {"img_resolution": 4096, "num_layers": 64, "c_dim": 2**20, "margin_size": 64, "filter_size": 32, "lrelu_upsampling": 8}
_LARGE = 2**17
# Where half precision is used is this project's own affair, and `fused_modconv` is a matter of speed.
_OF_SPEED = ("num_fp16_res", "use_fp16", "fp16_channels_last", "channels_last", "fused_modconv_default")
_OF_TRAINING = ("w_avg_beta", "magnitude_ema_beta", "freeze_layers")


class Arguments:
    """Arguments of one constructor, taken one after another. What is wrong with them is gathered, to be told at once."""

    def __init__(self, given: Mapping[str, Any], problems: list[str], where: str = "") -> None:
        self._given, self._problems, self._where = dict(given), problems, where

    def whole(self, name: str, default: int | None = None, least: int = 1, instead_of_none: int | None = None) -> int:
        """A whole number."""
        value = self._given.pop(name, default)
        value = instead_of_none if value is None else value
        largest = _LARGEST.get(name, _LARGE)
        if type(value) is not int or not least <= value <= largest:
            self._refuse(name, f"a whole number from {least} to {largest}", value)
            return least
        return value

    def number(self, name: str, default: float | None) -> float | None:
        """A finite number; None where the default is None or the file says so."""
        value = self._given.pop(name, default)
        if value is None or (type(value) in (int, float) and abs(value) < 1e9 and math.isfinite(value)):
            return value
        self._refuse(name, "a number", value)
        return default

    def one_of(self, name: str, default: Any, *others: Any) -> Any:
        """One of these values, the first of which is the official default."""
        value = self._given.pop(name, default)
        for choice in (default, *others):
            if type(value) is type(choice) and value == choice:
                return value
        self._refuse(name, " or ".join(repr(choice) for choice in (default, *others)), value)
        return default

    def below(self, name: str) -> Arguments:
        """The arguments that are handed on under this name."""
        value = self._given.pop(name, {})
        if type(value) is not dict:
            self._refuse(name, "arguments", value)
            value = {}
        return Arguments(value, self._problems, f"{self._where}{name}.")

    def adopt(self, other: Arguments) -> None:
        """Takes over the arguments of another, as if they had been given here."""
        self._given |= other._given

    def without_effect(self, *names: str) -> None:
        """Leaves these out: they do not change what the network computes."""
        for name in names:
            self._given.pop(name, None)

    def end(self) -> None:
        """All that may be there has been taken."""
        for name in self._given:
            self._problems.append(f"{self._where}{_shown(name)} is no argument that is known here, so what it does is not either")

    def _refuse(self, name: str, rule: str, value: Any) -> None:
        self._problems.append(f"{self._where}{name} must be {rule} here, but is {_shown(value)}")


def stylegan2_generator(arguments: Arguments, clamp: float | None) -> dict[str, Any]:
    """Options of our ``stylegan2`` generator.

    Args:
        arguments: without ``img_resolution``.
        clamp: what ``conv_clamp`` is where they do not say.
    """
    options = _ends(arguments)
    options |= _mapping(arguments.below("mapping_kwargs"), options["w_dim"], layers=8)
    arguments.adopt(arguments.below("synthesis_kwargs"))
    options |= _channels(arguments) | {
        "architecture": arguments.one_of("architecture", "skip", "resnet"),
        "clamp": arguments.number("conv_clamp", clamp),
    }
    _layers(arguments)
    arguments.one_of("use_noise", True)
    arguments.one_of("kernel_size", 3)
    arguments.end()
    return {"name": "stylegan2"} | options


def stylegan3_generator(arguments: Arguments, clamp: float | None) -> dict[str, Any]:
    """Options of our ``stylegan3`` generator; arguments as for `stylegan2_generator`."""
    options = _ends(arguments)
    options |= _mapping(arguments.below("mapping_kwargs"), options["w_dim"], layers=2)
    options |= _channels(arguments) | {
        "num_layers": arguments.whole("num_layers", 14),
        "num_critical": arguments.whole("num_critical", 2),
        "first_cutoff": arguments.number("first_cutoff", 2),
        "first_stopband": arguments.number("first_stopband", 2**2.1),
        "last_stopband_rel": arguments.number("last_stopband_rel", 2**0.3),
        "margin_size": arguments.whole("margin_size", 10, least=0),
        "output_scale": arguments.number("output_scale", 0.25),
        "conv_kernel": arguments.one_of("conv_kernel", 3, 1),
        "filter_size": arguments.whole("filter_size", 6),
        "lrelu_upsampling": arguments.whole("lrelu_upsampling", 2),
        "use_radial_filters": arguments.one_of("use_radial_filters", False, True),
        "clamp": arguments.number("conv_clamp", clamp),
    }
    arguments.without_effect(*_OF_SPEED, *_OF_TRAINING)
    arguments.end()
    return {"name": "stylegan3"} | options


def stylegan2_discriminator(arguments: Arguments, clamp: float | None) -> dict[str, Any]:
    """Options of our ``stylegan2`` discriminator, which is StyleGAN3's too; arguments as for `stylegan2_generator`."""
    arguments.one_of("img_channels", 3)
    options = _channels(arguments) | {
        "c_dim": arguments.whole("c_dim", least=0),
        "architecture": arguments.one_of("architecture", "resnet", "skip"),
        "clamp": arguments.number("conv_clamp", clamp),
    }
    if options["c_dim"]:
        width = min(options["channel_base"] // 4, options["channel_max"])
        arguments.one_of("cmap_dim", None, width)
        options |= _mapping(arguments.below("mapping_kwargs"), width, layers=8)
    else:
        arguments.without_effect("cmap_dim", "mapping_kwargs")
    blocks, epilogue = arguments.below("block_kwargs"), arguments.below("epilogue_kwargs")
    # The whole batch (None) is what the official converter writes for files of the TensorFlow era, which were trained with 4.
    options["mbstd_group"] = epilogue.whole("mbstd_group_size", 4, least=2, instead_of_none=4)
    if epilogue.one_of("mbstd_num_channels", 1, 0) == 0:
        options["minibatch_std"] = False
    for part in blocks, epilogue:
        _layers(part)
        part.end()
    arguments.without_effect(*_OF_SPEED)
    arguments.end()
    return {"name": "stylegan2"} | options


def _ends(arguments: Arguments) -> dict[str, Any]:
    arguments.one_of("img_channels", 3)
    return {name: arguments.whole(name, least=0 if name == "c_dim" else 1) for name in ("z_dim", "c_dim", "w_dim")}


def _channels(arguments: Arguments) -> dict[str, Any]:
    return {"channel_base": arguments.whole("channel_base", 32768), "channel_max": arguments.whole("channel_max", 512)}


def _mapping(arguments: Arguments, width: int, layers: int) -> dict[str, Any]:
    count = arguments.whole("num_layers", layers, least=0)
    for name in ("embed_features", "layer_features"):
        arguments.one_of(name, None, width)
    arguments.one_of("activation", "lrelu")
    if count:
        arguments.one_of("lr_multiplier", 0.01)
    arguments.without_effect("lr_multiplier", "w_avg_beta")
    arguments.end()
    return {"mapping_layers": count}


def _layers(arguments: Arguments) -> None:
    """What convolutions can be told and are not told here."""
    arguments.one_of("activation", "lrelu")
    arguments.one_of("resample_filter", _TAPS)
    arguments.without_effect(*_OF_SPEED, *_OF_TRAINING)


def _shown(value: Any) -> str:
    """A value of the file for a message: what it is where that is short and plain."""
    if value is None or type(value) in (int, float, bool):
        return repr(value)
    if type(value) is str:
        return repr(value[:40])
    plain = type(value) in (list, tuple) and len(value) <= 16 and all(type(item) in (int, float) for item in value)
    return repr(value) if plain else f"a {type(value).__name__}"
