"""One axis of a search: a range of floats, a range of integers, or a choice.

A dimension checks itself when it is made and draws its value from an Optuna trial that is handed in; Optuna itself is not
imported. Optuna stores only None, booleans, numbers and strings, so a choice that is a list goes there under a label
("blocks.1+blocks.2") and comes back as a tuple.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Protocol, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, field_validator, model_validator

Scalar: TypeAlias = bool | int | float | str | None
Value: TypeAlias = Scalar | tuple[Scalar, ...]
"""What a dimension can take."""


class SuggestingTrial(Protocol):
    """The part of an Optuna trial that a dimension needs."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = ...) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = ...) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Any: ...


def _number(value: object) -> object:
    """YAML 1.1 reads ``1e-3`` (no dot) as a string, and a boolean is no number even if Python thinks so."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError("must be a number") from None
    return value


_Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]


class _Dimension(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Float(_Dimension):
    """Real numbers from ``low`` to ``high``, both included; drawn on a log scale if ``log``."""

    low: _Number
    high: _Number
    log: StrictBool = False

    @model_validator(mode="after")
    def _check(self) -> Float:
        _check_range(self.low, self.high, self.log)
        return self

    def suggest(self, trial: SuggestingTrial, name: str) -> float:
        """Draws a value under Optuna's parameter ``name``."""
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def describe(self) -> str:
        """The range in short, such as ``1e-3..100 (log)``."""
        return _describe_range(self.low, self.high, self.log)

    def to_param(self, value: Value) -> Scalar:
        """What Optuna stores for ``value``."""
        return value  # type: ignore[return-value]  # the caller has checked `value in self`

    def from_param(self, param: Scalar) -> Value:
        """The value for what Optuna stored."""
        return param


_Whole = Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]  # those that a float can hold, as samplers need


class Int(_Dimension):
    """Whole numbers from ``low`` to ``high``, both included; drawn on a log scale if ``log``."""

    low: _Whole
    high: _Whole
    log: StrictBool = False

    @model_validator(mode="after")
    def _check(self) -> Int:
        _check_range(self.low, self.high, self.log)
        return self

    def suggest(self, trial: SuggestingTrial, name: str) -> int:
        """Draws a value under Optuna's parameter ``name``."""
        return trial.suggest_int(name, self.low, self.high, log=self.log)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def describe(self) -> str:
        """The range in short, such as ``0..5``."""
        return _describe_range(self.low, self.high, self.log)

    def to_param(self, value: Value) -> Scalar:
        """What Optuna stores for ``value``."""
        return value  # type: ignore[return-value]  # the caller has checked `value in self`

    def from_param(self, param: Scalar) -> Value:
        """The value for what Optuna stored."""
        return param


class Choice(_Dimension):
    """One of ``choices``: each None, a boolean, a number, a string, or a list of these (held as a tuple)."""

    choices: tuple[Any, ...]

    @field_validator("choices", mode="before")
    @classmethod
    def _check(cls, choices: object) -> tuple[Value, ...]:
        if not isinstance(choices, list | tuple):
            raise ValueError("choices must be a list")
        if not choices:
            raise ValueError("there must be at least one choice, but got none")
        values = tuple(freeze(choice) for choice in choices)
        for value in values:
            _check_choice(value)
        labels = [label(value) for value in values]
        for index, text in enumerate(labels):
            # Optuna compares labels with ==, for which 1, 1.0 and True are one value: it would mix them up silently.
            if text in labels[:index]:
                first = values[labels.index(text)]
                raise ValueError(f"choices must differ, but {thaw(values[index])!r} repeats {thaw(first)!r}")
        return values

    def suggest(self, trial: SuggestingTrial, name: str) -> Value:
        """Draws a value under Optuna's parameter ``name``; a list comes as a tuple."""
        return self.from_param(trial.suggest_categorical(name, [label(choice) for choice in self.choices]))

    def __contains__(self, value: object) -> bool:
        return any(same(value, choice) for choice in self.choices)

    def describe(self) -> str:
        """The choices in short, such as ``resnet18 | vgg16``."""
        return " | ".join(str(label(choice)) for choice in self.choices)

    def to_param(self, value: Value) -> Scalar:
        """What Optuna stores for ``value``."""
        return label(value)

    def from_param(self, param: Scalar) -> Value:
        """The value for what Optuna stored; ValueError if no choice has that label."""
        for choice in self.choices:
            if same(label(choice), param):
                return choice
        raise ValueError(f"must be one of {self.describe()}, but got {param!r}")


Dimension: TypeAlias = Float | Int | Choice

KINDS: dict[str, type[Float] | type[Int] | type[Choice]] = {"float": Float, "int": Int, "choice": Choice}
"""The key that names each kind of dimension in YAML."""


def label(value: Value) -> Scalar:
    """What Optuna stores for a value: a tuple's elements joined by ``+``, any scalar as it is."""
    if isinstance(value, tuple):
        return "+".join(map(str, value)) if value else "[]"
    return value


def freeze(value: Any) -> Any:
    """Lists, as YAML and JSON have them, to the tuples that dimensions hold."""
    return tuple(freeze(item) for item in value) if isinstance(value, list | tuple) else value


def thaw(value: Any) -> Any:
    """The inverse of `freeze`."""
    return [thaw(item) for item in value] if isinstance(value, tuple) else value


def same(first: object, second: object) -> bool:
    """Equality that, unlike ``==``, does not take True for 1."""
    return first == second and isinstance(first, bool) == isinstance(second, bool)


def _check_range(low: float, high: float, log: bool) -> None:
    if low > high:
        raise ValueError(f"low <= high must hold, but got low={low}, high={high}")
    if not math.isfinite(high - low):
        raise ValueError(f"high - low must be a number that fits in 64 bits, but got low={low}, high={high}")
    if log and low <= 0:
        raise ValueError(f"low > 0 must hold for a log range, but got low={low}")


def _check_choice(value: Any) -> None:
    items = value if isinstance(value, tuple) else (value,)
    for item in items:
        if not isinstance(item, None | bool | int | float | str):
            raise ValueError(f"a choice must be null, a boolean, a number, a string, or a list of these, but got {thaw(value)!r}")
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError(f"a choice must be finite, but got {item}")
        if isinstance(item, str) and _looks_like_number(item):
            raise ValueError(f"{item!r} is a string although it looks like a number: YAML wants a dot, as in 1.0e-3")


def _looks_like_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "e" in text.lower() and text.lower() not in ("inf", "-inf", "nan")


def _describe_range(low: float, high: float, log: bool) -> str:
    return f"{_short(low)}..{_short(high)}{' (log)' if log else ''}"


def _short(number: float) -> str:
    if number and (abs(number) < 0.01 or abs(number) >= 1e6):
        mantissa, exponent = f"{number:.6e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{number:g}"
