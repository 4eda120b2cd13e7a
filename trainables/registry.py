"""Registries: names of components, with an error that names the nearest one.

A registry is an explicit dictionary in the ``__init__`` of a component's folder: a new component is one file and one line there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Generic, Literal, TypeVar, Union

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")


class Options(BaseModel):
    """Base of every options class: immutable, finite, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for a wrong name: what it is, the nearest valid one, and all valid ones.

    >>> unknown_name("backbone", "vgg61", ["vgg16", "resnet18"])
    "unknown backbone 'vgg61'; did you mean 'vgg16'? Valid: resnet18, vgg16"
    """
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Valid: {', '.join(choices)}"


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Up to five of the names most like ``name``, for collections too large to list.

    >>> nearest_names("resnet27", ["resnet26", "resnet50", "vgg16"])
    'resnet26, resnet50'
    """
    return ", ".join(difflib.get_close_matches(name, sorted(known), n=5, cutoff=0.5)) or "none is like it"


class Registry(Mapping[str, T], Generic[T]):
    """A read-only mapping of names to components of one kind.

    Looking up a name that is not there raises ``ValueError`` naming the nearest valid name.
    """

    def __init__(self, kind: str, items: Mapping[str, T]) -> None:
        self.kind = kind
        self._items = dict(items)

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            raise ValueError(unknown_name(self.kind, name, self._items))
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


def options_union(registry: Registry[Any]) -> Any:
    """The pydantic type of "options of any component in ``registry``", told apart by their ``name`` field."""
    options = tuple(component.Options for component in registry.values())
    if len(options) == 1:
        return options[0]
    return Annotated[Union[options], Field(discriminator="name")]  # noqa: UP007 - the members are known at run time only


def names_of(registry: Registry[Any]) -> Any:
    """The pydantic type of "a name in ``registry``"."""
    return Literal[tuple(registry)]
