"""Made-up landscapes have what they say they have."""

from __future__ import annotations

import numpy as np
import pytest

from search_spaces.space import Space, preset_names
from tuner.simulate.synthetic import TARGET, Draw, SyntheticCurves


def drawn(space: Space, count: int, seed: int = 0) -> list[dict[str, object]]:
    dice = np.random.default_rng(seed)
    return [space.suggest(Draw(dice)) for _ in range(count)]


@pytest.mark.parametrize("name", preset_names())
def test_good_configurations_are_as_rare_in_every_space_and_landscape(name: str) -> None:
    space = Space.preset(name)
    for landscape in range(3):
        curves = SyntheticCurves(space, landscape)
        ends = np.array([curves.end(config) for config in drawn(space, 600)])
        assert 10 <= ends.min() < ends.max() <= 70
        assert 0.005 < (ends <= TARGET).mean() < 0.04


def test_a_curve_is_a_function_of_landscape_configuration_and_seed() -> None:
    space = Space.preset("few_shot_generation")
    (config,) = drawn(space, 1)
    curve, kimg = SyntheticCurves(space, 0, evaluations=9, kimg=0.5)(config, 0)
    assert (len(curve), kimg) == (9, 0.5)
    np.testing.assert_array_equal(SyntheticCurves(space, 0, evaluations=9)(config, 0)[0], curve)
    for other in (SyntheticCurves(space, 1, evaluations=9)(config, 0)[0], SyntheticCurves(space, 0, evaluations=9)(config, 1)[0]):
        assert (other != curve).all()


def test_curves_fall_and_some_collapse_late() -> None:
    space = Space.preset("few_shot_generation")
    curves = SyntheticCurves(space)
    all_of_them = np.array([curves(config, 0)[0] for config in drawn(space, 300)])
    assert np.median(all_of_them[:, 8] / all_of_them[:, 0]) < 0.8
    collapsed = all_of_them[:, -1] > 1.5 * all_of_them.min(axis=1)
    assert 0.05 < collapsed.mean() < 0.4


def test_branches_have_optima_of_their_own() -> None:
    branch = {"float": {"low": 0, "high": 1}}
    space = Space.parse({"a": {"choice": ["one", "two"]}, "b": [{"when": {"a": name}, **branch} for name in ("one", "two")]})
    curves = SyntheticCurves(space)
    best = [min(np.linspace(0, 1, 201), key=lambda b, a=a: curves.end({"a": a, "b": b})) for a in ("one", "two")]
    assert abs(best[0] - best[1]) > 0.02
