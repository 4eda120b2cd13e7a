"""What the names in official StyleGAN pickles stand for here: inert data, made without PyTorch and without the file's own code.

Tensors are numpy views of the file's bytes, so that no claim of a size costs memory. PyTorch pickles a storage as bytes of its
own legacy format, which is pickles again: those are read by the same closed reader.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from trainables.source.closed_pickle import Budget, Global, Maker, Unfinished, load

ZIP = b"PK"
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of PyTorch's legacy files
_STORAGES = {
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.DoubleStorage": "<f8",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
}
_ORDERS: dict[str, Literal["<", ">", "|", "="]] = {"<": "<", ">": ">", "|": "|", "=": "="}
_MAX_DIMENSIONS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Module:
    """An object that the official code pickles with its source code, which is left out: the name of its class, and its state."""

    class_name: str
    state: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """Numbers in a row within the bytes of a pickled storage."""

    data: bytes
    start: int
    count: int
    dtype: np.dtype[Any]


_DTYPE_PARTS = 9  # of numpy's state of a dtype, at most


class Dtype(Unfinished):
    """A numpy type of plain numbers."""

    def __init__(self, name: Any, align: Any = False, copy: Any = True) -> None:
        if type(name) is not str or not re.fullmatch(r"b1|[iu][1248]|f[248]", name):
            raise ValueError("not the type of plain numbers")
        self.value = np.dtype(name)

    def build(self, state: Any) -> None:
        if type(state) is not tuple or len(state) > _DTYPE_PARTS:
            raise ValueError("the state of no plain dtype")
        _version, order, subarray, names, fields, *_sizes = state
        if type(order) is not str or order not in _ORDERS or any(part is not None for part in (subarray, names, fields)):
            raise ValueError("a dtype with fields or of unknown byte order")
        self.value = self.value.newbyteorder(_ORDERS[order])


class Array(Unfinished):
    """A numpy array of plain numbers, which are the file's bytes."""

    def __init__(self, kind: Any, shape: Any, code: Any) -> None:
        if not isinstance(kind, Global) or kind.name != "numpy.ndarray":
            raise ValueError("an array of another class than numpy.ndarray")
        self.values = np.zeros(0)

    def build(self, state: Any) -> None:
        if type(state) is not tuple:
            raise ValueError("the state of no array")
        _version, shape, dtype, fortran, data = state
        if not isinstance(dtype, Dtype) or type(data) is not bytes or type(fortran) is not bool:
            raise ValueError("an array of other things than plain numbers")
        shape = _sizes(shape)
        if math.prod(shape) * dtype.value.itemsize != len(data):
            raise ValueError(f"an array of shape {shape} in {len(data)} bytes")
        self.values = np.ndarray(shape, dtype.value, data, order="F" if fortran else "C")


def official_table(budget: Budget) -> Mapping[str, Maker]:
    """All that an official pickle may name. ``budget`` is shared with the pickles within it."""
    numpy = {
        f"numpy.{core}.multiarray.{name}": make
        for core in ("core", "_core")  # before and since numpy 2
        for name, make in (("scalar", _scalar), ("_reconstruct", Array))
    }
    return numpy | {
        "collections.OrderedDict": _empty_dict,
        "dnnlib.util.EasyDict": _empty_dict,
        "builtins.set": _set,  # of PyTorch's modules, where Python 3.7 wrote the file
        "numpy.dtype": Dtype,
        "numpy.ndarray": _only_named,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch.storage._load_from_bytes": partial(_storage, budget),
        "torch_utils.persistence._reconstruct_persistent_obj": _module,
    }


def _module(meta: Any) -> Module:
    if type(meta) is not dict or meta.get("type") != "class":
        raise ValueError("an object that is not of a class")
    class_name, state = meta.get("class_name"), meta.get("state")
    if type(class_name) is not str or type(state) is not dict:
        raise ValueError("an object without a class's name and a state")
    return Module(class_name, state)


def _empty_dict() -> dict[str, Any]:
    return {}


def _set(items: Any) -> set[str]:
    if type(items) is not list or items:
        raise ValueError("a set that is not empty")
    return set()


def _only_named(*arguments: Any) -> Any:
    raise ValueError("it can only be named, not called")


def _storage(budget: Budget, data: Any) -> Storage:
    """A storage in PyTorch's legacy format: three pickles of a header, one of what it is, one of its key, then its numbers."""
    if type(data) is not bytes:
        raise ValueError("a storage that is no bytes")
    if data.startswith(ZIP):
        raise ValueError("a zip archive, where PyTorch writes its legacy format")
    budget.spend(data=len(data))
    stream = io.BytesIO(data)
    magic, protocol, system = (load(stream, {}, budget) for _ in range(3))
    if magic != _MAGIC or protocol != _PROTOCOL or type(system) is not dict or system.get("little_endian") is not True:
        raise ValueError("a storage of another format than PyTorch's legacy one")
    found = load(stream, dict.fromkeys(_STORAGES, _only_named), budget, _described)
    if type(found) is not tuple:
        raise ValueError(f"not one storage but a value of type {type(found).__name__}")
    key, dtype, count = found
    if load(stream, {}, budget) != [key]:
        raise ValueError("a storage under another key")
    written, start = int.from_bytes(stream.read(8), "little"), stream.tell()
    if written != count or start + count * dtype.itemsize != len(data):
        raise ValueError(f"a storage that should hold {count} numbers and has {len(data) - start} bytes for {written}")
    return Storage(data, start, count, dtype)


def _described(persistent_id: Any) -> tuple[str, np.dtype[Any], int]:
    """Key, type and length of a storage."""
    if type(persistent_id) is not tuple or len(persistent_id) != 6 or persistent_id[0] != "storage":
        raise ValueError("not the description of a storage")
    _, kind, key, _device, count, view = persistent_id
    if not isinstance(kind, Global) or type(key) is not str or type(count) is not int or count < 0 or view is not None:
        raise ValueError("not the description of a plain storage")
    return key, np.dtype(_STORAGES[kind.name]), count


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, metadata: Any = None) -> Any:
    """A tensor as a read-only view of its storage, all of whose values are in it; it has no more of them than the storage."""
    if not isinstance(storage, Storage) or hooks or metadata:
        raise ValueError("not a plain tensor")
    size, stride, (offset,) = _sizes(size), _sizes(stride), _sizes((offset,))
    if len(size) != len(stride):
        raise ValueError(f"a tensor of size {size} with strides {stride}")
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if math.prod(size) and (last >= storage.count or math.prod(size) > storage.count):
        raise ValueError(f"a tensor of size {size}, strides {stride} and offset {offset} in a storage of {storage.count} numbers")
    width = storage.dtype.itemsize
    if not math.prod(size):
        return np.zeros(size, storage.dtype)
    steps = tuple(step * width for step in stride)
    return np.ndarray(size, storage.dtype, storage.data, storage.start + offset * width, steps)


def _parameter(data: Any, requires_grad: Any, hooks: Any) -> Any:
    if not isinstance(data, np.ndarray) or hooks:
        raise ValueError("not a plain parameter")
    return data


def _scalar(dtype: Any, data: Any) -> float | int | bool:
    if not isinstance(dtype, Dtype) or type(data) is not bytes or len(data) != dtype.value.itemsize:
        raise ValueError("a number of unknown type")
    number: float | int | bool = np.frombuffer(data, dtype.value)[0].item()
    return number


def _sizes(values: Any) -> tuple[int, ...]:
    if type(values) is not tuple or len(values) > _MAX_DIMENSIONS or any(type(value) is not int or value < 0 for value in values):
        raise ValueError("a shape that is not a few whole numbers")
    return values
