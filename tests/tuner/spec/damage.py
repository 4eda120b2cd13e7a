"""Random damage to specs: of their data (values of any type at any depth, odd keys) and of their text (cut, spliced, odd YAML).

Run as a script it damages the shipped specs many times and prints what was neither a valid spec nor a clear refusal::

    python -m tests.tuner.spec.damage 20000
"""

from __future__ import annotations

import copy
import datetime
import math
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any

import optuna
import yaml

from tests.test_readme import block
from tuner.schedulers import SCHEDULERS
from tuner.spec import SpecError, dump_spec, load_spec
from tuner.spec.trial_config import trial_config

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 10.0
"""No spec may take longer, whatever is in it; the slowest sound one takes a tenth of it on a busy machine."""

ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 3, 0.5, 1e-300, 1e300, 10**18, 10**40, -(10**40), math.nan, math.inf, -math.inf, "", " ",
    "a.b", "a.b.c", ".", "name", "compact", "vgg16", "none", "null", "1e-3", "é…💥", "x" * 300, "\x00", "\ud7ff", "fid[",
    "fid[vgg16,64px,n=0]", "fid[efficientnet_lite0,64px,n=99999999999999999999]", "psnr[n=1]", "package:", "~nobody/x", "s3://",
    "timm/",
    "timm/resnet18", "torchvision/x", "generation", "style_transfer", "few_shot_generation", [], [[]], {}, [{}], [None],
    ["a", 1, None], {"a": {"b": {"c": 1}}}, {"name": "x"}, {"name": None}, {"name": ["trunk"]}, {"name": {"a": 1}},
    {"name": "ensemble", "members": []}, {"name": "projected"}, {"choice": []}, {"choice": [1, 1.0, True]},
    {"choice": [[["a"]]]}, {"choice": {"a": 1}}, {"int": {"low": 0, "high": 10**12}}, {"int": {"low": 5, "high": 1}},
    {"float": {"low": 0, "high": 1, "log": True}}, {"float": 3}, {"when": {}}, {"when": {"backbone": []}},
    {"when": {"backbone": "vgg16"}, "choice": [1]}, [{"when": {"x": 1}, "choice": [1, 2]}], [{"int": {}}, 3], b"bytes",
    {"int": {"low": 0, "high": 10**40}}, {"int": {"low": -(2**63), "high": 2**63}}, {"float": {"low": -1e308, "high": 1e308}},
    {"float": {"low": 1e-320, "high": 1e308, "log": True}}, {"choice": ["vgg16", 3, None]}, {"choice": [True, False]}, 2**31,
    2**63, {"choice": [None, "random"]}, {"choice": [0, -1, 1e300, 10**40]}, {"choice": list(range(400))},
    {"choice": ["resnet18", "vgg16"]}, {"choice": [["blocks.1"], ["features.3"], "blocks.2", []]}, ["flip", "color"],
    {"int": {"low": 0, "high": 3}}, 1.0000001, datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, 4), {1, 2}, (1, 2),
]  # fmt: skip
ODD_KEYS: list[Any] = [
    1, 0, None, True, 1.5, math.nan, b"key", datetime.date(2026, 1, 2), ("a", "b"), "", " ", ".", "a.b", "..", "a..b",
    "name.name", "trial.optimizer", "[0]", "a[0]", "<<", "=", "é", "x" * 200, "__class__", "model_config", "--set", "name",
    "backbone", "task", "generator.name", "discriminator.members.0", "evaluation.metric", "feature_loss", "batch_size", "space",
    "when", "choice",
]  # fmt: skip
ODD_TEXT = [
    "&a ", "*a", "*a ", "&a [*a]", "&a {x: *a}", "<<: *a", "<<: [*a, *a]", "<<: 3", "!!binary aGk=", "!!binary é",
    "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!python/object/apply:os.getcwd []", "!!python/name:os.system ",
    "!!timestamp x", "!!bool x", "!!int x", "!!float x", "!!null x", "!!str 3", "!!map 3", "!!seq x", "!!seq {}", "!foo x",
    "!!", "2001-99-99", "2001-01-01", "0b2", "0o9", "0x", "08", "1_000", "190:20:30", "1:99999", "1e9999", "9" * 5000,
    "-" + "9" * 400, ".nan", ".inf", "-.inf", "~", "yes", "off", "=", "? [a, b]\n: 3", "? {a: b}\n: 3", "? ", ": ", "- ", "-",
    "{", "}", "[", "]", "{{", "[[", ",", "'", '"', "|\n", ">\n", "\t", "#", "%YAML 9.9\n", "%TAG ! x\n", "---\n", "...\n", "\n",
    "\r", "\x85", "\u2028", "\ufeff", "\x07", "@", "`", "\\", '"\\ud800"', '"\\x00"', '"\\q"', "[" * 300, "{a: " * 150,
    "- " * 400, "? " * 100, "[" * 5000 + "]" * 5000,
]  # fmt: skip


def shipped_specs() -> dict[str, str]:
    """The text of every spec that is shipped, and of the README's."""
    found = {str(file.relative_to(ROOT)): file.read_text() for file in sorted((ROOT / "examples").rglob("*.yaml"))}
    return found | {"README.md": block("yaml", "#")}


def damaged(text: str, other: str, random: Random) -> str:
    """A spec's text with one to four kinds of damage; ``other`` is a text to splice with."""
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        if random.random() < 0.6:
            try:
                data = yaml.safe_load(text)
            except Exception:
                data = None
            if isinstance(data, dict):
                try:
                    text = yaml.safe_dump(_data_damaged(data, random), sort_keys=False, allow_unicode=random.random() < 0.5)
                except Exception:  # a damage that YAML cannot write
                    continue
                continue
        text = _text_damaged(text, other, random)
    return text


def override(text: str, random: Random) -> str:
    """An override such as ``--set`` takes, sound or not."""
    data = yaml.safe_load(text)
    path = ".".join(map(str, random.choice(_places(data))))
    if random.random() < 0.4:
        path = random.choice(
            [path + "." + str(random.choice(ODD_KEYS)), str(random.choice(ODD_KEYS)), path[random.randint(0, len(path)) :]]
        )
    if random.random() < 0.5:
        return f"{path}={random.choice(ODD_TEXT)}"
    return path + random.choice(["=", "=", "=", "==", " = ", ""]) + str(random.choice(ODD_VALUES))


def _data_damaged(data: dict[Any, Any], random: Random) -> Any:
    data = copy.deepcopy(data)
    *parents, leaf = random.choice(_places(data))
    target: Any = data
    for part in parents:
        target = target[part]
    value = copy.deepcopy(random.choice(ODD_VALUES))
    kind = random.randrange(7)
    if kind <= 1:
        target[leaf] = value
    elif kind == 2:
        del target[leaf]
    elif kind == 3 and isinstance(target, dict):
        target[random.choice(ODD_KEYS)] = target.pop(leaf) if random.random() < 0.5 else value
    elif kind == 4:
        target[leaf] = random.choice([[target[leaf]], {"a": target[leaf]}, {"name": target[leaf]}, str(target[leaf])])
    elif kind == 5:
        *others, last = random.choice(_places(data))
        source: Any = data
        for part in others:
            source = source[part]
        target[leaf] = source[last] if random.random() < 0.7 else copy.deepcopy(source[last])
    elif isinstance(target[leaf], dict):
        target[leaf][random.choice(ODD_KEYS)] = value
    elif isinstance(target[leaf], list):
        target[leaf].insert(0, value)
    else:
        target[leaf] = value
    return data


def _text_damaged(text: str, other: str, random: Random) -> str:
    start = random.randint(0, len(text))
    end = min(len(text), start + random.choice([1, 3, 10, 40, 200]))
    lines = text.splitlines(keepends=True) or [""]
    row = random.randrange(len(lines))
    kind = random.randrange(9)
    if kind == 0:
        return text[:start] + text[end:]
    if kind == 1:
        return text[:end] + text[start:]
    if kind == 2:
        begin = random.randint(0, len(other))
        return text[:start] + other[begin : begin + random.choice([5, 50, 500])] + text[end:]
    if kind == 3:
        return text[:start] + random.choice(ODD_TEXT) + text[start:]
    if kind == 4:
        return (
            text[:start]
            + chr(random.choice([0, 9, 10, 13, 32, 34, 35, 38, 42, 45, 58, 91, 123, 233, 0x1F4A5]))
            + text[start + 1 :]
        )
    if kind == 5:
        lines[row] = random.choice([" ", "  ", "    ", "\t", "- "]) + lines[row]
    elif kind == 6:
        lines[row] = lines[row].lstrip()
    elif kind == 7:  # an odd value in the place of one
        head, colon, _ = lines[row].partition(":")
        lines[row] = f"{head}{colon} {random.choice(ODD_TEXT)}\n"
    else:
        lines[row], lines[-1] = lines[-1], lines[row]
    return "".join(lines)


def _places(data: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything below ``data``."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    found = []
    for key, value in items:
        found.append((*above, key))
        if len(above) < 8:
            found += _places(value, (*above, key))
    return found


def judge(file: Path, overrides: list[str]) -> bool:
    """Whether the spec is valid. Raises what neither a valid spec nor a clear refusal would, or one that takes too long."""
    started = time.process_time()
    try:
        spec = load_spec(file, overrides)
    except SpecError as error:
        _judge_refusal(error, file)
        return False
    finally:
        assert time.process_time() - started < SECONDS
    # A valid one is valid all the way to the first trial, and is what is stored for `resume`.
    space, study = spec.search_space(), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space.describe()
    for _ in range(2):
        trial_config(spec.base, space.suggest(study.ask())).evaluation_steps()
    SCHEDULERS[spec.scheduler.name](spec.scheduler, spec.budget.kimg, spec.metric)
    again = file.with_name("again.yaml")
    again.write_bytes(dump_spec(spec))
    assert load_spec(again).model_dump() == spec.model_dump()
    assert time.process_time() - started < 2 * SECONDS
    return True


def _judge_refusal(error: SpecError, file: Path) -> None:
    assert error.problems
    assert all(message and isinstance(message, str) for _, message in error.problems)
    assert str(error).startswith(("--set", str(file)))
    assert len(str(error)) < 200_000, "nobody reads that much"


def main(count: int, seed: int = 0) -> None:
    """Damages shipped specs ``count`` times and prints each kind of traceback once: how often it came, and its first case."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    specs = list(shipped_specs().values())
    found: dict[str, list[str]] = {}
    valid, slowest, started = 0, 0.0, time.time()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sweep.yaml"
        for case in range(count):
            random = Random(f"{seed} {case}")
            text = random.choice(specs)
            overrides = [override(text, random) for _ in range(random.choice([0, 0, 0, 1, 2]))]
            text = damaged(text, random.choice(specs), random) if random.random() < 0.9 else text
            file.write_text(text, encoding="utf-8", errors="replace", newline="")
            before = time.process_time()
            try:
                valid += judge(file, overrides)
            except Exception as error:
                frames = [
                    f
                    for f in traceback.extract_tb(error.__traceback__)
                    if Path(f.filename).parts[: len(ROOT.parts)] == ROOT.parts
                ]
                ours = next(f for f in reversed(frames) if "site-packages" not in f.filename)
                place = f"{type(error).__name__} at {Path(ours.filename).relative_to(ROOT)}:{ours.lineno}"
                found.setdefault(place, []).append(f"case {case}: {str(error)[:100]!r}")
            slowest = max(slowest, time.process_time() - before)
    total = sum(map(len, found.values()))
    print(f"{total} tracebacks in {count}; {valid} still valid; {time.time() - started:.0f} s, slowest {slowest:.2f} s of CPU")
    for place, cases in sorted(found.items(), key=lambda item: -len(item[1])):
        print(f"{len(cases):6} {place}, first in {cases[0]}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
