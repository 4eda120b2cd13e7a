"""Damaged specs: each is a valid spec or is refused in words, quickly, whatever is in it."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tuner.command import Command
from tests.tuner.spec.damage import damaged, judge, override, shipped_specs
from tuner.spec import SpecError, load_spec

SPECS = list(shipped_specs().values())
examples = settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sweep.yaml"


@examples
@given(random=st.randoms(use_true_random=False))
def test_a_damaged_spec_is_valid_or_refused(file: Path, random: Random) -> None:
    text = damaged(random.choice(SPECS), random.choice(SPECS), random)
    file.write_text(text, encoding="utf-8", errors="replace", newline="")
    judge(file, [])


@examples
@given(random=st.randoms(use_true_random=False))
def test_a_damaged_override_is_valid_or_refused(file: Path, random: Random) -> None:
    text = random.choice(SPECS)
    file.write_text(text)
    judge(file, [override(text, random) for _ in range(random.choice([1, 1, 2]))])


def bomb(levels: int, form: str) -> str:
    """A text of ``levels`` lines that stands for 10 ** levels values."""
    rows = ["l0: &l0 {x: 1}" if form == "merge" else "l0: &l0 [x, x]"]
    for level in range(1, levels):
        again = ", ".join([f"*l{level - 1}"] * 10)
        rows.append(f"l{level}: &l{level} " + (f"{{<<: [{again}]}}" if form == "merge" else f"[{again}]"))
    return "name: x\n" + "\n".join(rows) + "\n"


TOO_MUCH = {
    "a bomb of aliases": (bomb(12, "list"), "6: column 5: holds more than 5,000 values, aliases written out"),
    "a bomb of merged keys": (bomb(12, "merge"), "6: column 14: holds more than 5,000 values, aliases written out"),
    "long text again and again": (
        f"name: &a {'x' * 9000}\ntrial: [{', '.join(['*a'] * 100)}]\n",
        "2: column 8: holds more than 262,144 characters, aliases written out",
    ),
    "nested without end": ("name: " + "[" * 100_000, "1: column 38: nests more than 32 levels deep"),
    "nested by aliases": (
        "a0: &a0 x\n" + "".join(f"a{i}: &a{i} [[[[[*a{i - 1}]]]]]\n" for i in range(1, 30)),
        "8: column 12: holds more than 32 levels, aliases written out",
    ),
    "a list that holds itself": ("name: x\ntrial: &a {b: [*a]}\n", "2: column 8: holds itself, by an alias"),
    "digits without end": (f"seed: {'9' * 5000}\n", "1: column 7: must be a number of at most 100 digits"),
}


@pytest.mark.parametrize("case", TOO_MUCH)
def test_what_would_fill_the_memory_is_refused_at_once(file: Path, case: str) -> None:
    text, expected = TOO_MUCH[case]
    file.write_text(text)
    started = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(SpecError) as error:
            load_spec(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(error.value) == f"{file}:{expected}"
    assert time.process_time() - started < 2
    assert peak < 30e6


def test_a_file_that_is_no_spec_is_refused_unread(command: Command) -> None:
    said = command.run(text="# " + "x" * 10**6)
    assert said.code == 2
    assert "must be at most 262,144 bytes, but has 1,000,002: is it a spec?" in said.err


NOT_PLAIN = {
    "a tag": ("name: !!binary aGk=\n", "1: column 7: has the tag !!binary, but a spec knows no tags"),
    "a tag that would run code": (
        "name: !!python/object/apply:os.getcwd []\n",
        "1: column 7: has the tag !!python/object/apply:os.getcwd, but a spec knows no tags",
    ),
    "an escape that is no character": ('name: "\\UFFFFFFFF"\n', "1: column 10: cannot be read"),
    "half a character": ('name: "\\ud800"\n', "1: column 7: holds the character 0xd800"),
    "a zero": ('name: "a\\0"\n', "1: column 7: holds the character 0x0"),
    "a number that is none": ("seed: 0x_\n", "1: column 7: must be a number, but got 0x_"),
    "a key that is a list": ("name: x\n? [a, b]\n: 3\n", "keys must be text, but one (line 2) is a list"),
    "a key that is a mapping": ("name: x\n? {a: b}\n: 3\n", "keys must be text, but one (line 2) is a mapping"),
    "a key that is a number": ("name: x\n3: 4\n", "keys must be text, but 3 (line 2) is a whole number; quote it if it is meant"),
    "a key that YAML takes for true": (
        "name: x\non: 4\n",
        "keys must be text, but on (line 2) is a boolean; quote it if it is meant",
    ),
    "an empty key": ("name: x\n~: 4\n", "keys must be text, but ~ (line 2) is a null; quote it if it is meant"),
    "a key in a section": (
        "budget: {1.5: 3}\n",
        "1: budget: keys must be text, but 1.5 (line 1) is a number; quote it if it is meant",
    ),
}


@pytest.mark.parametrize("case", NOT_PLAIN)
def test_yaml_that_is_none_of_a_specs_is_refused_with_its_place(command: Command, case: str) -> None:
    text, expected = NOT_PLAIN[case]
    found = command.problems(text=text)
    assert any(expected in row for row in found), found


def test_a_date_is_text(command: Command) -> None:
    command.run(text="name: 2026-11-25\n")
    with pytest.raises(SpecError) as error:
        load_spec(command.file)
    assert "name" not in [problem.key for problem in error.value.problems]


@pytest.mark.parametrize("key", ["", "a.b", "budget.trials", "data[0]"])
def test_a_top_level_key_with_dots_is_an_unknown_key(command: Command, key: str) -> None:
    found = command.problems({key: 3})
    assert len(found) == 1
    assert f"unknown key {key!r}" in found[0]


def test_what_is_searched_below_a_value_is_refused(command: Command) -> None:
    found = command.problems({"trial/adaptive": None, "space/adaptive.target": {"float": {"low": 0.1, "high": 0.9}}})
    assert [row.partition(": ")[2] for row in found] == [
        "space.adaptive.target: is below 'trial.adaptive', which must then be a mapping of keys or be left out, but got None"
    ]


@pytest.mark.parametrize("dimension", [{"int": {"low": 0, "high": 10**12}}, {"float": {"low": 0, "high": 1}}])
def test_a_backbone_is_searched_by_name(command: Command, dimension: dict[str, object]) -> None:
    found = command.problems({"space": {"backbone": dimension}})
    assert "space.backbone: must be a choice of names" in [row.partition(": ")[2] for row in found]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trial=&a [*a]", "--set trial: the value holds itself, by an alias"),
        ("trial={1: 2}", "--set trial: keys must be text, but 1 (line 1) is a whole number; quote it if it is meant"),
        ("seed=" + "9" * 5000, "--set seed: the value must be a number of at most 100 digits"),
        ("name=!!binary aGk=", "--set name: the value has the tag !!binary, but a spec knows no tags"),
        ("space=3", "--set space: a search space must be a mapping of paths to dimensions, but got 3"),
    ],
)
def test_odd_overrides_are_refused_in_words(command: Command, override: str, expected: str) -> None:
    assert expected in command.problems({}, "--set", override)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"budget": {"trials": 3, "kimg": 1e9}},
            "budget.kimg: must be at most 10,000 times trial.evaluation.every_kimg (0.5), but got 1e+09",
        ),
        (
            {"scheduler": {"name": "successive_halving", "grace_kimg": 0.5, "reduction_factor": 1.00001}},
            "scheduler.reduction_factor: must give at most 1,000 rungs from scheduler.grace_kimg to budget.kimg, "
            "but 1.00001 gives 138,630",
        ),
        (
            {"space/batch_size": {"int": {"low": 4, "high": 10**40}}},
            "space.batch_size.int.high: must be less than or equal to 9007199254740992, but got 1" + "0" * 40,
        ),
    ],
)
def test_numbers_that_would_never_end_are_refused(command: Command, changes: dict[str, object], expected: str) -> None:
    assert [row.partition(": ")[2] for row in command.problems(changes)] == [expected]
