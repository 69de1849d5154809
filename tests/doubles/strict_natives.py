"""The two TensorRT classes that are no plain shells: ``Dims`` and ``IHostMemory``."""

from __future__ import annotations

from typing import Any

from doubles.strict import MODULE


class Dims:
    """A shape: indexed, iterated and compared with tuples and lists, never with another Dims."""

    MAX_DIMS = 8
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, shape: Any = ()) -> None:
        self._sides = [int(side) for side in shape]

    def __len__(self) -> int:
        return len(self._sides)

    def __getitem__(self, key: Any) -> Any:
        found = self._sides[key]
        return tuple(found) if isinstance(key, slice) else found

    def __setitem__(self, key: Any, value: Any) -> None:
        self._sides[key] = value

    def __eq__(self, other: object) -> bool:
        # NVIDIA's own refuses another Dims: TypeError, though it is a sequence.
        if not isinstance(other, (tuple, list)):
            raise TypeError(
                "__eq__(): incompatible function arguments. The following argument types are "
                "supported:\n    1. (self: Dims, arg0: list) -> bool\n    2. (self: Dims, arg0: "
                f"tuple) -> bool\n\nInvoked with: {self}, {other!r}"
            )
        return tuple(self._sides) == tuple(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return str(tuple(self._sides))


class IHostMemory(bytearray):
    """Bytes that TensorRT owns: a buffer and nothing else (no ``len``, no indexing, no slices)."""

    _play = None

    def __getattribute__(self, name: str) -> Any:
        if name in ("nbytes", "dtype") or (name.startswith("_") and name not in HIDDEN):
            return object.__getattribute__(self, name)
        raise AttributeError(f"'{MODULE}.IHostMemory' object has no attribute {name!r}")

    def __init__(self, content: bytes, dtype: Any) -> None:
        super().__init__(content)
        self._dtype = dtype

    nbytes = property(lambda self: memoryview(self).nbytes)
    dtype = property(lambda self: self._dtype)

    def __bool__(self) -> bool:
        return True

    def _refuse(self, *args: Any) -> Any:
        raise TypeError(f"'{MODULE}.IHostMemory' object is a buffer: use memoryview or bytes")

    __len__ = __getitem__ = __setitem__ = __delitem__ = __iter__ = _refuse  # type: ignore[assignment]
    __add__ = __radd__ = __iadd__ = __contains__ = _refuse  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{MODULE}.IHostMemory object at {id(self):#x}>"


HIDDEN = ("__alloc__", "__sizeof__")
for _kind in (Dims, IHostMemory):
    _kind.__module__ = MODULE
