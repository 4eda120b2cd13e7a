"""A reader of pickles that can build data and do nothing else.

A pickle is a program. `pickle.Unpickler` runs it: it calls what the file names, sets attributes and hashes what the file makes,
and recurses as deep as the file likes. With a `find_class` of one's own it still calls what that returns, with what the file
says, and writes onto it; and a key of a million tuples within tuples overflows its stack. So this is an interpreter of its own,
for the instructions that real checkpoints need, over `pickletools.genops`, which decodes instructions and runs none:

- a name that is not in the table is refused, and nothing is ever imported;
- what is called is a function of the table, which makes inert data;
- items are set in plain dictionaries, lists and sets alone, keys are text or numbers, and state goes to `Unfinished` data alone;
- instructions are counted, and bytes that are read again as a pickle within the pickle: neither time nor memory exceeds what the
  file's own size allows.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, NoReturn

Maker = Callable[..., Any]
"""Makes inert data of a pickle's arguments; ValueError or TypeError where they are not what they should be."""
_KEY_BITS = 60
_MAX_BITS = 128  # of a number; PyTorch's magic number has 77
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_VALUES = frozenset(_NUMBERS | _TEXTS | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"})
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY: dict[str, type] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUT, _GET = frozenset({"PUT", "BINPUT", "LONG_BINPUT"}), frozenset({"GET", "BINGET", "LONG_BINGET"})
_SAY_NOTHING = frozenset({"PROTO", "FRAME", "STOP"})


class PickleError(ValueError):
    """A pickle that is damaged, or asks for more than data."""


class RefusedError(PickleError):
    """A pickle that names something beyond the table."""

    def __init__(self, name: str) -> None:
        super().__init__(f"refused: the file asks for {_shown(name)}, and only plain data and tensors are read from it")
        self.name = name


class Unfinished:
    """Data of the table that take their state later, as pickled numpy arrays do."""

    def build(self, state: Any) -> None:
        """Takes the state; ValueError or TypeError where it is none."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """A name of the table, as it lies on the stack."""

    name: str
    make: Maker


@dataclass(slots=True)
class Budget:
    """How much more may be read, over all pickles that one file consists of."""

    data: int
    """Bytes in pickles within pickles: at first, those of the file."""
    instructions: int = 1_000_000
    """A large real checkpoint has a tenth of that."""

    def spend(self, instructions: int = 0, data: int = 0) -> None:
        self.instructions -= instructions
        self.data -= data
        if self.instructions < 0:
            raise PickleError("refused: it has more instructions than any checkpoint needs")
        if self.data < 0:
            raise PickleError("refused: it asks for the same bytes again and again")


def load(stream: IO[bytes], table: Mapping[str, Maker], budget: Budget, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The data of the pickle that begins where ``stream`` stands, which then stands behind it.

    Args:
        table: what may be named, as ``module.name``, and what stands for it.
        persistent: makes data of persistent ids; None refuses them.

    Returns:
        None, booleans, numbers, text, bytes, tuples, lists, dictionaries, sets, and what the table makes.

    Raises:
        PickleError: it is damaged or not such a pickle; the message says what was refused.
    """
    try:
        return _Machine(table, budget, persistent).run(stream)
    except PickleError:
        raise
    # Damage can lead anywhere: an empty stack, a missing memo, a wrong number of arguments.
    except Exception as error:
        raise PickleError(f"it is damaged: {type(error).__name__}: {_shown(str(error))}") from error


class _Machine:
    def __init__(self, table: Mapping[str, Maker], budget: Budget, persistent: Callable[[Any], Any] | None) -> None:
        self.table, self.budget, self.persistent = table, budget, persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: IO[bytes]) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):
            self.budget.spend(instructions=1)
            self.step(opcode.name, argument)
        return self.stack.pop()

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(_bounded(argument))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(stack[-count:])] if len(stack) >= count else _underflow()
        elif name in _GET:
            stack.append(self.memo[argument])
        elif name in _PUT:
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name not in _SAY_NOTHING:
            self.other(name, argument)

    def other(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "MARK":
                self.marked.append(stack)
                self.stack = []
            case "POP" if stack:
                stack.pop()
            case "POP" | "POP_MARK":
                self.above_mark()
            case "DUP":
                stack.append(stack[-1])
            case "TUPLE":
                self.push(tuple(self.above_mark()))
            case "LIST":
                self.push(self.above_mark())
            case "DICT":
                items = self.above_mark()
                self.push({})
                self.set_items(self.stack[-1], items)
            case "APPEND":
                self.extend([stack.pop()])
            case "APPENDS":
                self.extend(self.above_mark())
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self.set_items(stack[-1], [key, value])
            case "SETITEMS":
                items = self.above_mark()
                self.set_items(self.stack[-1], items)
            case "ADDITEMS":
                items = [_key(item) for item in self.above_mark()]
                _exactly(set, self.stack[-1]).update(items)
            case "GLOBAL":
                self.push_global(*argument.split(" ", 1))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                self.push_global(_exactly(str, module), _exactly(str, attribute))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                if not isinstance(function, Global):
                    raise PickleError(f"refused: the file wants to call {_kind(function)}")
                stack.append(_made(function.name, function.make, *_exactly(tuple, arguments)))
            case "BUILD":
                state, target = stack.pop(), stack[-1]
                if not isinstance(target, Unfinished):
                    raise PickleError(f"refused: the file wants to write into {_kind(target)}")
                _made(f"the state of {_kind(target)}", target.build, state)
            case "BINPERSID" if self.persistent is not None:
                stack.append(_made("a persistent id", self.persistent, stack.pop()))
            case _:
                raise PickleError(f"refused: the file uses the pickle instruction {name}, which no checkpoint needs")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_global(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if full not in self.table:
            raise RefusedError(full)
        self.push(Global(full, self.table[full]))

    def above_mark(self) -> list[Any]:
        """What was pushed since the last mark, which is taken away."""
        items, self.stack = self.stack, self.marked.pop()
        return items

    def extend(self, items: list[Any]) -> None:
        _exactly(list, self.stack[-1]).extend(items)

    def set_items(self, target: Any, items: list[Any]) -> None:
        target = _exactly(dict, target)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value


def _made(what: str, make: Maker, *arguments: Any) -> Any:
    try:
        return make(*arguments)
    except PickleError:
        raise
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise PickleError(f"refused: {what}: {_shown(str(error))}") from error


def _bounded(value: Any) -> Any:
    if type(value) is int and value.bit_length() > _MAX_BITS:
        raise PickleError(f"refused: a number of {value.bit_length()} bits")
    return value


def _key(value: Any) -> str | int:
    """Of a dictionary or a set. Others could take long to hash, or overflow the stack: tuples in tuples."""
    if type(value) not in (str, int):
        raise PickleError(f"refused: {_kind(value)} as a key")
    if type(value) is int and value.bit_length() > _KEY_BITS:  # larger ones can be made to have one hash
        raise PickleError(f"refused: a number of {value.bit_length()} bits as a key")
    key: str | int = value
    return key


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise PickleError(f"refused: {_kind(value)} where only {kind.__name__} may be")
    return value


def _kind(value: Any) -> str:
    return value.name if isinstance(value, Global) else f"a value of type {type(value).__name__}"


def _shown(text: str) -> str:
    """Text of the file, for a message: short, and without what a terminal obeys."""
    return "".join(character if character.isprintable() else "?" for character in text[:200])


def _underflow() -> NoReturn:
    raise PickleError("it is damaged: it takes more than it has put there")
