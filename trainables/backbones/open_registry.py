"""The registry of backbones: named entries, and any network of some libraries by ``library/NAME``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trainables.backbones.backbone import BackboneInfo
from trainables.registry import Registry


class BackboneRegistry(Registry[BackboneInfo]):
    """Looks a name up among the entries or, as ``library/NAME``, in a library, whose networks are built when asked for.

    Iteration yields the entries only. A name that is in neither, or of a network that cannot be a backbone, is a ``ValueError``.
    """

    def __init__(self, entries: Mapping[str, BackboneInfo], libraries: Mapping[str, Callable[[str], BackboneInfo]]) -> None:
        super().__init__("backbone", entries)
        self.libraries = dict(libraries)

    def __getitem__(self, name: str) -> BackboneInfo:
        library, _, network = name.partition("/")
        if network and library in self.libraries:
            return self.libraries[library](network)
        try:
            return super().__getitem__(name)
        except ValueError as error:
            raise ValueError(", ".join([str(error), *(f"{library}/NAME" for library in self.libraries)])) from None

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        try:
            self[name]
        except ValueError:
            return False
        return True
