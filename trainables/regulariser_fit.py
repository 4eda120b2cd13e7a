"""Whether a trial's regularisers have what they look at, and whether training changes anything of that."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainables.discriminators import DISCRIMINATORS
from trainables.generators import GENERATORS
from trainables.losses import GENERATOR_REGULARISERS, REGULARISERS
from trainables.source import architecture_of

if TYPE_CHECKING:
    from trainables.config import TrialConfig

_VOID = "would be 0 all the time, because nothing that it looks at is trained"


def regulariser_problems(config: TrialConfig, info: Any) -> list[tuple[str, str]]:
    """What cannot be, as (dotted key, message). ``info``: of the trial's backbone (`BackboneInfo`).

    The last layers of either network are trained in any case, so only what looks at features can look at frozen layers alone.
    """
    return [*_of_discriminator(config, info), *_of_generator(config)]


def _of_discriminator(config: TrialConfig, info: Any) -> list[tuple[str, str]]:
    d, problem = config.discriminator, None
    if not _tunes_a_trunk(d):
        problem = f"needs a discriminator that tunes a pretrained trunk, but got {d.name!r}"
    elif not DISCRIMINATORS[d.name].trains_features(d, info, config.resolution) and not _reads_anew(config):
        problem = f"{_VOID}: frozen_depth keeps all layers of D below its heads"
    return [
        (f"regularisers.{index}", f"{options.name} {problem}")
        for index, options in enumerate(config.regularisers)
        if problem and REGULARISERS[options.name].needs_trunk
    ]


def _of_generator(config: TrialConfig) -> list[tuple[str, str]]:
    name, problems = config.generator.name, []
    layers = getattr(GENERATORS[name], "untrained_layers", None)
    kept = layers(config.generator, config.resolution) if layers else 0
    for index, options in enumerate(config.generator_regularisers):
        if GENERATOR_REGULARISERS[options.name].needs_styles and not _is_made_of_styles(name):
            made = f"a generator made of styles ({', '.join(filter(_is_made_of_styles, GENERATORS))})"
            problems.append((f"generator_regularisers.{index}", f"{options.name} needs {made}, but got {name!r}"))
        elif (getattr(options, "layers", None) or math.inf) <= kept:
            what = f"{_VOID}: the first {kept} layers of G are frozen"
            problems.append((f"generator_regularisers.{index}", f"{options.name} {what}"))
    return problems


def _tunes_a_trunk(discriminator: Any) -> bool:
    return hasattr(discriminator, "frozen_depth") or any(map(_tunes_a_trunk, getattr(discriminator, "members", ())))


def _is_made_of_styles(generator: str) -> bool:
    return hasattr(GENERATORS[generator], "styles")


def _reads_anew(config: TrialConfig) -> bool:
    """Whether the source makes larger pictures: a D of its kind then reads the picture by new weights, frozen or not."""
    try:
        return config.source is not None and (architecture_of(config.source).resolution or 0) > config.resolution
    except ValueError:
        return False  # for those to say who need its tensors
