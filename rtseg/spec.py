"""What a network file says of itself: its metadata, and the shapes of the contract.

A network file is an ONNX model under one contract: frames (N, H, W, 3) uint8 BGR in, masks
(N, h, w) uint8 of class indices out. Its metadata holds one JSON text, :class:`Spec`, so that no
second file has to travel with it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rtseg.errors import NetworkError
from rtseg.onnx_header import Header, Value, read_header

KEY = "rtseg"
"""The key of the spec among the ONNX metadata properties."""

FORMAT = 1
"""The version of the spec's own format."""

_UINT8 = 2  # TensorProto.DataType, onnx.proto
_MOST_PIXELS = 1 << 26


@dataclass(frozen=True)
class Spec:
    """A network's own description.

    ``width`` and ``height`` (pixels) are the size of the frames it takes, ``classes`` the names of
    the indices in its masks, ``palette`` a colour (RGB, 0–255) for each. ``mask_stride`` is the
    ratio of a frame's side to its mask's: 1 or the stride of the network's logits.
    ``size_divisor`` divides every width and height that the network can be compiled for;
    ``fixed_size`` says that it can be compiled for no other size than its own.
    ``precision`` is the type of the weights (``fp32`` or ``fp16``), or ``int8`` where the file is
    quantised. The rest is for people:
    training data, recipe, measured accuracy, licence, the versions of what made it.
    """

    name: str
    width: int
    height: int
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    mask_stride: int = 1
    size_divisor: int = 32
    fixed_size: bool = False
    precision: str = "fp32"
    training_data: str = ""
    recipe: str = ""
    licence: str = ""
    measured: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def mask_width(self) -> int:
        """Width of the masks, pixels."""
        return self.width // self.mask_stride

    @property
    def mask_height(self) -> int:
        """Height of the masks, pixels."""
        return self.height // self.mask_stride

    def resized(self, width: int, height: int) -> Spec:
        """Return this spec for frames of another size; ``NetworkError`` says which sizes fit."""
        if (width, height) == (self.width, self.height):
            return self
        if self.fixed_size:
            raise NetworkError(
                f"{self.name} takes frames of {self.width}x{self.height} only: leave --size out"
            )
        if width > 0 and height > 0 and width * height > _MOST_PIXELS:
            raise NetworkError(
                f"{self.name} cannot run at {width}x{height}: that is more than "
                f"{_MOST_PIXELS >> 20} million pixels"
            )
        d = self.size_divisor
        if width < d or height < d or width % d or height % d:
            near = f"{max(d, round(width / d) * d)}x{max(d, round(height / d) * d)}"
            raise NetworkError(
                f"{self.name} cannot run at {width}x{height}: sides are multiples of {d}, "
                f"such as {near}"
            )
        return replace(self, width=width, height=height)

    def to_json(self) -> str:
        """The text that goes into the ONNX metadata."""
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """Read the text of :meth:`to_json`; ``ValueError`` names what does not fit."""
        try:
            values = json.loads(text)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
        version = values.pop("format", None)
        if version != FORMAT:
            raise ValueError(f"its format is {version!r}, this rtseg reads {FORMAT}")
        # Keys of a newer rtseg that this one does not know are left out, not an error.
        names = {f.name for f in fields(cls)}
        values = {k: v for k, v in values.items() if k in names}
        try:
            if not isinstance(values["classes"], list):
                raise TypeError("classes is not a list")
            values["classes"] = tuple(values["classes"])
            values["palette"] = tuple((int(r), int(g), int(b)) for r, g, b in values["palette"])
            spec = cls(**values)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"a key is missing or of the wrong kind: {error}") from error
        spec.check()
        return spec

    def check(self) -> None:
        """``ValueError`` says what is wrong with these values."""
        # The name becomes part of a file's name in the engine cache.
        if not isinstance(self.name, str) or not self.name.isprintable() or not self.name:
            raise ValueError("the name is a printable text")
        if any(separator in self.name for separator in "/\\"):
            raise ValueError(f"the name {self.name!r} holds a path separator")
        whole = (self.width, self.height, self.mask_stride, self.size_divisor)
        if not all(type(v) is int and v > 0 for v in whole):
            raise ValueError("sizes and strides are positive whole numbers")
        if self.width * self.height > _MOST_PIXELS:
            raise ValueError(f"{self.width}x{self.height} is too large a frame")
        if self.width % self.mask_stride or self.height % self.mask_stride:
            raise ValueError("mask_stride does not divide the frame's size")
        if not self.fixed_size:
            if self.width % self.size_divisor or self.height % self.size_divisor:
                raise ValueError("size_divisor does not divide the frame's size")
            if self.size_divisor % self.mask_stride:
                raise ValueError("mask_stride does not divide size_divisor")
        if not all(isinstance(n, str) and n for n in self.classes):
            raise ValueError("class names are not empty")
        if not 2 <= len(self.classes) <= 255 or len(set(self.classes)) != len(self.classes):
            raise ValueError("there are 2 to 255 distinct class names")
        if len(self.palette) != len(self.classes):
            raise ValueError("there is one colour a class")
        if any(not 0 <= channel <= 255 for colour in self.palette for channel in colour):
            raise ValueError("colours are 0 to 255")
        if self.precision not in ("fp32", "fp16", "int8"):
            raise ValueError(f"precision {self.precision!r} is not fp32, fp16 or int8")


@dataclass(frozen=True)
class NetworkFile:
    """A network file that keeps the contract: where it lies, its spec, and its content's SHA-256."""

    path: Path
    spec: Spec
    sha256: str


def _dimensions(value: Value) -> str:
    return f"{value.name} {value.type_name} ({', '.join(str(d) for d in value.dims)})"


def _check_contract(path: Path, header: Header, spec: Spec) -> None:
    def breaks(what: str) -> NetworkError:
        return NetworkError(f"{path}: this network breaks the contract: {what}")

    if len(header.inputs) != 1 or len(header.outputs) != 1:
        raise breaks(
            f"it has {len(header.inputs)} inputs and {len(header.outputs)} outputs, not one of each"
        )
    frames, masks = header.inputs[0], header.outputs[0]
    if frames.elem_type != _UINT8 or len(frames.dims) != 4 or frames.dims[3] != 3:
        raise breaks(f"its input is {_dimensions(frames)}, not uint8 (N, H, W, 3)")
    if masks.elem_type != _UINT8 or len(masks.dims) != 3:
        raise breaks(f"its output is {_dimensions(masks)}, not uint8 (N, h, w)")
    expected = (
        (frames.dims[1], spec.height),
        (frames.dims[2], spec.width),
        (masks.dims[1], spec.mask_height),
        (masks.dims[2], spec.mask_width),
    )
    if any(isinstance(found, int) and found != told for found, told in expected):
        raise breaks(
            f"{_dimensions(frames)} to {_dimensions(masks)} is not the "
            f"{spec.width}x{spec.height}, masks {spec.mask_width}x{spec.mask_height}, of its spec"
        )
    if not spec.fixed_size and any(isinstance(d, int) for d in frames.dims[1:3]):
        raise breaks("its spec says that its size is free, but the graph fixes it")


def read_network(path: str | Path) -> NetworkFile:
    """Read and check a network file's description, without any backend.

    ``NetworkError``: not readable, not an ONNX model, without a spec, or breaking the contract.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NetworkError(f"{path}: cannot read this network file: {error.strerror}") from error
    return check_network(path, content)


def check_network(path: Path, content: bytes) -> NetworkFile:
    """Check the content that ``path`` has or is to have; errors as in :func:`read_network`."""
    try:
        header = read_header(content)
    except ValueError as error:
        raise NetworkError(f"{path}: not a whole ONNX model: {error}") from error
    text = header.metadata.get(KEY)
    if text is None:
        raise NetworkError(
            f"{path}: this ONNX model lacks rtseg's spec in its metadata: "
            "export it with rtseg-compile"
        )
    try:
        spec = Spec.from_json(text)
    except ValueError as error:
        raise NetworkError(f"{path}: its spec cannot be read: {error}") from error
    _check_contract(path, header, spec)
    return NetworkFile(path, spec, hashlib.sha256(content).hexdigest())


def describe(spec: Spec) -> dict[str, Any]:
    """The spec as plain JSON values."""
    values: dict[str, Any] = json.loads(spec.to_json())
    return values
