"""YAML as a spec needs it: mappings with text for keys, lists, text, numbers, booleans and null, and no more of them than anyone
writes by hand.

YAML can also hold any other object, keys of any kind, values that hold themselves, and aliases of aliases that a few lines blow
up to more than fits in memory. All of it is refused here, with its place, so that nothing behind this file has to expect it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

from tuner.spec.problems import Problem

MAX_BYTES = 256 * 1024
"""Length of a spec's file."""
_MAX_VALUES = 5_000
_MAX_CHARACTERS = 256 * 1024
_MAX_DEPTH = 32
_MAX_DIGITS = 100
_TAGS = (None, "!", "tag:yaml.org,2002:str")
_STR, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


class NotPlainError(yaml.MarkedYAMLError):
    """YAML that is none of a spec's; the problem is what is wrong with the value at the mark."""

    def __init__(self, problem: str, mark: yaml.Mark | None) -> None:
        super().__init__(None, None, problem, mark)


class Document(NamedTuple):
    """A YAML text that was read."""

    data: Any
    lines: dict[str, int]
    """Dotted key → line (from 1) of every key, and of the items of its lists (``key[0]``)."""
    problems: list[Problem]
    """Keys that are no text, which ``data`` lacks, and keys that stand twice, of which it has the last."""


def read_yaml(text: str) -> Document:
    """The one document in ``text``.

    Raises:
        yaml.YAMLError: it is no YAML, or none of a spec's (`NotPlainError`); with its place, where that is known.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Document(None, {}, [])
        _measure(node, {}, set())
        lines: dict[str, int] = {}
        problems: list[Problem] = []
        _walk(node, "", lines, problems)
        return Document(loader.construct_document(node), lines, problems)
    except (ValueError, OverflowError) as error:  # of the reader itself, as at the escape "\UFFFFFFFF"
        raise NotPlainError(f"cannot be read: {error}", loader.get_mark()) from error
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    # A date is text here, as in `name: 2026-11-25`, and so is "=", which YAML 1.1 keeps for itself.
    yaml_implicit_resolvers = {  # noqa: RUF012 - as in its base
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":value"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()
        tag = getattr(event, "tag", None)
        if tag not in _TAGS:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            raise NotPlainError(f"has the tag {shown}, but a spec knows no tags", event.start_mark)
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise NotPlainError(f"nests more than {_MAX_DEPTH} levels deep", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode):
            for character in node.value:
                if (character < " " and character not in "\t\n") or "\ud800" <= character <= "\udfff":
                    raise NotPlainError(f"holds the character {ord(character):#x}", node.start_mark)
        return node

    def _number(self, node: Any) -> Any:
        if len(node.value) > _MAX_DIGITS:
            raise NotPlainError(f"must be a number of at most {_MAX_DIGITS} digits", node.start_mark)
        construct = super().construct_yaml_float if node.tag.endswith(":float") else super().construct_yaml_int
        try:
            return construct(node)
        except ValueError as error:  # such as 0x_
            raise NotPlainError(f"must be a number, but got {node.value}", node.start_mark) from error


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader._number)


def _measure(node: yaml.Node, measured: dict[int, tuple[int, int, int]], above: set[int]) -> tuple[int, int, int]:
    """Values, characters and depth of a node once all aliases in it are written out.

    Raises:
        NotPlainError: too many, or no end of them.
    """
    if id(node) in above:
        raise NotPlainError("holds itself, by an alias", node.start_mark)
    if id(node) in measured:
        return measured[id(node)]
    below: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        below = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        below = node.value
    inside = above | {id(node)}
    sizes = [_measure(part, measured, inside) for part in below]
    values = 1 + sum(size[0] for size in sizes)
    characters = len(node.value) if isinstance(node, yaml.ScalarNode) else sum(size[1] for size in sizes)
    depth = 1 + max((size[2] for size in sizes), default=0)
    for name, size, limit in (
        ("values", values, _MAX_VALUES),
        ("characters", characters, _MAX_CHARACTERS),
        ("levels", depth, _MAX_DEPTH),
    ):
        if size > limit:
            raise NotPlainError(f"holds more than {limit:,} {name}, aliases written out", node.start_mark)
    measured[id(node)] = values, characters, depth
    return measured[id(node)]


def _walk(node: yaml.Node, path: str, lines: dict[str, int], problems: list[Problem]) -> None:
    """Notes lines and problems, and takes out of the nodes the keys that are no text."""
    if isinstance(node, yaml.MappingNode):
        kept, first = [], dict[str, int]()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == _MERGE:
                kept.append((key, value))
                continue
            if key.tag != _STR:
                problems.append(Problem(path, _no_text(key, line)))
                continue
            below = f"{path}.{key.value}" if path else key.value
            if key.value in first:
                problems.append(Problem(below, f"must be given once, but stands on lines {first[key.value]} and {line}"))
            first.setdefault(key.value, line)
            lines[below] = line
            kept.append((key, value))
            _walk(value, below, lines, problems)
        node.value = kept
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[f"{path}[{index}]"] = item.start_mark.line + 1
            _walk(item, f"{path}[{index}]", lines, problems)


def _no_text(key: yaml.Node, line: int) -> str:
    if isinstance(key, yaml.ScalarNode):
        kind = key.tag.rpartition(":")[2].replace("bool", "boolean").replace("int", "whole number").replace("float", "number")
        return f"keys must be text, but {key.value or 'an empty key'} (line {line}) is a {kind}; quote it if it is meant"
    return f"keys must be text, but one (line {line}) is a {'list' if isinstance(key, yaml.SequenceNode) else 'mapping'}"
