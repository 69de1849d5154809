"""Classes made from a surface: what the real bindings lack, they lack; what they take, they take.

A *shell* is a class with exactly the real one's attributes. It checks arguments against the real
signatures, as pybind11 does, and hands the call to its *play*: a plain Python object that behaves.
An attribute that the real class lacks raises AttributeError as there; one that it has but no play
knows raises NotImplementedError, so that nobody takes a gap of the double for the real thing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MODULE = "tensorrt_bindings.tensorrt"
PARAMETER = re.compile(r"^(\*{0,2}\w+)(?:: (.*?))?(?: ?= ?(.*))?$")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a signature; ``kind`` is the type's text, empty where none is given."""

    name: str
    kind: str
    optional: bool
    default: str


def split(text: str) -> list[str]:
    """Split a parameter list at its top-level commas."""
    parts, depth, start = [], 0, 0
    for index, char in enumerate(text):
        depth += (char in "([{<") - (char in ")]}" or (char == ">" and text[index - 1] != "-"))
        if char == "," and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    return [*parts, text[start:].strip()] if text[start:].strip() else parts


def parameters(signature: str, method: bool = True) -> list[Parameter]:
    """Return the parameters of a signature, without ``self``."""
    inside = signature[1 : signature.rindex(")")]
    found = []
    for part in split(inside):
        match = PARAMETER.match(part)
        assert match, signature
        found.append(Parameter(match[1], match[2] or "", match[3] is not None, match[3] or ""))
    return found[1:] if method else found


def fits(value: Any, kind: str, shells: dict[str, Any], default: str = "") -> bool:
    """Whether pybind11 would take ``value`` for a parameter of this type."""
    if "::" in kind:  # C++'s own name of a type that Python has too
        kind = kind.split("::", 1)[1].replace("::", ".")
    if value is None and (default == "None" or "None" in kind or "Optional" in kind):
        return True
    if kind in ("int", "typing.SupportsInt", "typing.SupportsIndex"):
        number = hasattr(value, "__index__") or hasattr(value, "__int__")
        return number and not isinstance(value, (float, np.floating, str, bytes))
    if kind in ("float", "typing.SupportsFloat"):
        return isinstance(value, (int, float, np.number))
    if kind == "bool":
        return isinstance(value, (bool, np.bool_))
    if kind == "str":
        return isinstance(value, (str, bytes))
    if kind in ("tuple", "list"):
        return type(value).__name__ == kind
    if kind in ("buffer", "typing_extensions.Buffer"):
        try:
            memoryview(value)
        except TypeError:
            return False
        return True
    if kind == "Dims":
        whole = isinstance(value, (tuple, list)) and all(hasattr(v, "__index__") for v in value)
        return whole or isinstance(value, shells["Dims"])
    if kind.startswith(("List[", "list[", "collections.abc.Sequence[")):
        return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    if kind in shells:
        return isinstance(value, shells[kind])
    return True  # a type of C++ that has no Python name


def bind(signature: str, args: tuple[Any, ...], given: dict[str, Any], shells: dict[str, Any],
         method: bool = True) -> dict[str, Any] | None:  # fmt: skip
    """Match arguments to one signature; None where they do not fit."""
    wanted = parameters(signature, method)
    if len(args) > len(wanted):
        return None
    bound = dict(zip((p.name for p in wanted), args, strict=False))
    for name, value in given.items():
        if name in bound or name.startswith("arg") or name not in (p.name for p in wanted):
            return None
        bound[name] = value
    for parameter in wanted:
        if parameter.name not in bound:
            if not parameter.optional:
                return None
        elif not fits(bound[parameter.name], parameter.kind, shells, parameter.default):
            return None
    return bound


def choose(what: str, signatures: Sequence[str], args: tuple[Any, ...], given: dict[str, Any],
           shells: dict[str, Any], method: bool = True) -> dict[str, Any]:  # fmt: skip
    """Match arguments to the first overload that takes them; TypeError as pybind11 words it."""
    for signature in signatures:
        bound = bind(signature, args, given, shells, method)
        if bound is not None:
            return bound
    kind = "constructor" if what.endswith("__init__") else "function"
    lines = "".join(f"\n    {n}. {text}" for n, text in enumerate(signatures, 1))
    raise TypeError(
        f"{what.split('.')[-1]}(): incompatible {kind} arguments. The following argument types "
        f"are supported:{lines}\n\nInvoked with: "
        + ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in given.items())])
    )


class Kind(type):
    """The shells' class: an instance whose ``__init__`` was left out is refused, as pybind11 does."""

    def __call__(cls, *args: Any, **given: Any) -> Any:
        made = super().__call__(*args, **given)
        try:
            object.__getattribute__(made, "_play")
        except AttributeError:
            raise TypeError(
                f"{MODULE}.{cls.__base__.__name__}.__init__() must be called when overriding "
                "__init__"
            ) from None
        return made


def unplayed(what: str) -> NotImplementedError:
    """Return the error of a name that the real bindings have and the double does not play."""
    return NotImplementedError(f"the double of TensorRT does not play {what}: extend tests/doubles")


def make_enum(name: str, surface: dict[str, Any]) -> type:
    """Make an enumeration: members are equal to themselves alone, numbers through ``int``."""
    members: dict[str, Any] = {}
    short = name.split(".")[-1]

    class Enum:
        __slots__ = ("_name", "_value")
        __members__ = members

        def __init__(self, value: int) -> None:
            values = {int(member): key for key, member in members.items()}
            self._name, self._value = values.get(int(value), "???"), int(value)

        name = property(lambda self: self._name)
        value = property(lambda self: self._value)

        def __eq__(self, other: object) -> bool:
            return type(other) is type(self) and int(other) == self._value  # type: ignore[call-overload,no-any-return]

        def __hash__(self) -> int:
            return hash(self._value)

        def __int__(self) -> int:
            return int(self._value)

        __index__ = __int__

        def __repr__(self) -> str:
            return f"<{short}.{self._name}: {self._value}>"

        def __str__(self) -> str:
            return f"{short}.{self._name}"

    Enum.__name__, Enum.__qualname__, Enum.__module__ = short, name, MODULE
    for key, value in surface["members"].items():
        member = Enum.__new__(Enum)
        member._name, member._value = key, value
        members[key] = member
        setattr(Enum, key, member)
    if "itemsize" in surface["properties"]:
        sizes = {"INT8": 1, "UINT8": 1, "BOOL": 1, "FP8": 1, "HALF": 2, "BF16": 2, "INT64": 8}
        Enum.itemsize = property(lambda self: sizes.get(self._name, 4))  # type: ignore[attr-defined]
    return Enum


def make_class(name: str, surface: dict[str, Any], world: Any) -> type:
    """Make the shell of one class. ``world`` has ``shells``, ``plays`` and ``count(name)``."""
    bases = tuple(world.shells[base] for base in surface["bases"] if base in world.shells)
    body: dict[str, Any] = {"__module__": MODULE, "__slots__": () if bases else ("_play",)}

    def method(key: str, signatures: list[str]) -> Any:
        def called(self: Any, *args: Any, **given: Any) -> Any:
            bound = choose(f"{name}.{key}", signatures, args, given, world.shells)
            world.count(f"{name}.{key}")
            act = getattr(self._play, key, None)
            if act is None:
                raise unplayed(f"{name}.{key}()")
            return act(**bound)

        called.__name__ = key
        return called

    def attribute(key: str, kind: str, settable: bool) -> property:
        def get(self: Any) -> Any:
            if not hasattr(self._play, key):
                raise unplayed(f"{name}.{key}")
            return getattr(self._play, key)

        def set_(self: Any, value: Any) -> None:
            if value is not None and not fits(value, kind, world.shells):
                raise TypeError(f"{name}.{key}: {value!r} is no {kind}")
            world.count(f"{name}.{key}=")
            if not hasattr(self._play, key):
                raise unplayed(f"setting {name}.{key}")
            setattr(self._play, key, value)

        return property(get, set_ if settable else None)

    for key, signatures in surface["methods"].items():
        if key not in ("__del__", "__enter__", "__exit__"):
            body[key] = method(key, signatures)
    for key, (kind, settable) in surface["properties"].items():
        body[key] = attribute(key, kind, settable)

    def init(self: Any, *args: Any, **given: Any) -> None:
        if not surface["init"]:
            raise TypeError(f"{MODULE}.{name}: No constructor defined!")
        bound = choose(f"{name}.__init__", surface["init"], args, given, world.shells)
        if name not in world.plays:
            raise unplayed(f"{name}()")
        self._play = world.plays[name](world, **bound)

    body["__init__"] = init
    if "__enter__" in surface["methods"]:
        body["__enter__"] = lambda self: self
        body["__exit__"] = lambda self, kind, error, trace: None
    made = Kind(name.split(".")[-1], bases, body)
    for key, text in surface["values"].items():
        member = world.enums.get(f"ILogger.{text.split('.')[0]}")
        setattr(made, key, member.__members__[text.split(".")[1]] if member else text)
    return made
