"""Augmentation declared in a recipe: transforms of albumentations by name, checked when built.

Buslaev et al., "Albumentations: Fast and Flexible Image Augmentations", Information 11(2), 2020.
"""

from __future__ import annotations

import difflib
import inspect
import os
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.data.labels import VOID, ClassTable
from rtseg.errors import UsageError, one_line

# Without this albumentations asks PyPI for a newer version whenever it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A

from rtseg.training.rare_class_crop import RareClassCrop

# Base classes; what needs Python objects, tensors or a second picture; what is meant for sound and
# writes zeros into masks.
_LEFT_OUT = {
    "BaseCompose", "BasicTransform", "DualTransform", "ImageOnlyTransform", "ReplayCompose",
    "Lambda", "ToTensorV2", "FDA", "HistogramMatching", "Mosaic", "OverlayElements",
    "PixelDistributionAdaptation", "FrequencyMasking", "TimeMasking", "TimeReverse",
}  # fmt: skip

_TRANSFORMS: dict[str, type[Any]] = {
    name: kind
    for name, kind in [*vars(A).items(), ("RareClassCrop", RareClassCrop)]
    if isinstance(kind, type)
    and issubclass(kind, A.BasicTransform | A.BaseCompose)
    and not issubclass(kind, A.Transform3D)
    and name not in _LEFT_OUT
}

# Pictures that a new pipeline is tried on: a smaller and a larger one, of different shapes.
_RESIZING = frozenset(
    (
        "LongestMaxSize", "RandomResizedCrop", "RandomScale", "RandomSizedBBoxSafeCrop",
        "RandomSizedCrop", "RareClassCrop", "Resize", "SmallestMaxSize",
    )
)  # fmt: skip
"""Transforms that resize by ``cv2.resize``; the others warp, which is aligned."""

_TRIAL_SIZES = ((320, 240), (960, 540))
_TRIAL_DRAWS = 10


class Augmentation:
    """A checked pipeline. ``size`` is the (width, height) of everything that it gives.

    What it does to a picture follows from the picture and ``chance`` alone, not from earlier calls.
    """

    def __init__(self, pipeline: A.Compose, where: str) -> None:
        self._pipeline = pipeline
        self._where = where
        self.size = _fixed_size(pipeline, where)

    def __call__(
        self, frame: NDArray[np.uint8], mask: NDArray[np.uint8], chance: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Augment ``frame`` (h, w, 3) uint8 BGR and ``mask`` (h, w) uint8; ``chance`` is 0 or more.

        Returns the picture (3, H, W) uint8 RGB and the mask (H, W) uint8, both C-contiguous and the
        caller's own. ``UsageError`` where the pipeline cannot work on a picture of this size.
        """
        height, width = frame.shape[:2]
        picture, target = _run(self._pipeline, frame, mask, chance, self._where)
        if picture.shape[1::-1] != self.size or target.shape[::-1] != self.size:
            got = "x".join(map(str, picture.shape[1::-1]))
            wanted = "x".join(map(str, self.size))
            raise UsageError(
                f"{self._where}: makes {got} of a picture of {width}x{height}, but {wanted} of "
                "others: end it with a Resize"
            )
        return np.ascontiguousarray(picture.transpose(2, 0, 1)), target


def build_augmentation(
    declared: Sequence[Mapping[str, Any] | str],
    *,
    where: str = "data.augmentation",
    classes: ClassTable | None = None,
) -> Augmentation:
    """Build the pipeline that a recipe declares: a list of ``{Transform: {argument: value}}``.

    Lists become tuples, and ``INTER_...`` and ``BORDER_...`` OpenCV's constants. What a transform
    uncovers is VOID in the mask unless ``fill_mask`` says otherwise. ``classes`` lets
    ``RareClassCrop`` name classes. ``UsageError`` names the place in the recipe for whatever
    albumentations would refuse, or take with a warning, and for a pipeline without a fixed size.
    """
    return Augmentation(A.Compose(_transforms(declared, where, classes)), where)


def _transforms(declared: Any, where: str, classes: ClassTable | None) -> list[Any]:
    if isinstance(declared, str | Mapping) or not isinstance(declared, Sequence):
        raise UsageError(
            f"{where}: is a list of transforms, such as [{{HorizontalFlip: {{p: 0.5}}}}]"
        )
    return [_transform(one, f"{where}[{i}]", classes) for i, one in enumerate(declared)]


def _transform(declared: Any, where: str, classes: ClassTable | None) -> Any:
    if isinstance(declared, str):
        declared = {declared: None}
    if not isinstance(declared, Mapping) or len(declared) != 1:
        raise UsageError(
            f"{where}: is one transform and its arguments, {{HorizontalFlip: {{p: 0.5}}}}"
        )
    ((name, arguments),) = declared.items()
    kind = _TRANSFORMS.get(name)
    if kind is None:
        raise UsageError(f"{where}.{name}: no such transform{_suggest(name, _TRANSFORMS)}")
    where = f"{where}.{name}"
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, Mapping):
        raise UsageError(f"{where}: its arguments are a mapping of names to values")
    known = [n for n in inspect.signature(kind.__init__).parameters if n != "self"]
    for argument in arguments:
        if argument not in known:
            raise UsageError(
                f"{where}.{argument}: no such argument: {name} takes {', '.join(known)}"
            )
    p = arguments.get("p", 1)
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
        raise UsageError(f"{where}.p: is {p!r}: a probability is a number from 0 to 1")
    values = {key: _value(value, f"{where}.{key}") for key, value in arguments.items()}
    if issubclass(kind, A.BaseCompose):
        if "transforms" not in arguments:
            raise UsageError(f"{where}.transforms: is missing: the list to choose from")
        values["transforms"] = _transforms(arguments["transforms"], f"{where}.transforms", classes)
        if not any(transform.p for transform in values["transforms"]):
            raise UsageError(f"{where}.transforms: is empty, or all in it have p 0")
    elif issubclass(kind, RareClassCrop) and "classes" in arguments:
        values["classes"] = _indices(arguments["classes"], f"{where}.classes", classes)
    parameters = inspect.signature(kind.__init__).parameters
    # Dropouts leave the mask as it is unless told otherwise (None): that is meant, and stays.
    if "fill_mask" in parameters and parameters["fill_mask"].default is not None:
        values.setdefault("fill_mask", VOID)
    if kind.__name__ in _RESIZING:
        # albumentations' default, INTER_NEAREST, moves the mask against the picture by up to half a
        # pixel: it takes the left upper corner of a pixel where the picture's takes its centre.
        values.setdefault("mask_interpolation", cv2.INTER_NEAREST_EXACT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return kind(**values)
    except Exception as error:  # whatever its own checks raise
        raise UsageError(_why(error, where)) from error


def _value(value: Any, where: str) -> Any:
    if isinstance(value, str) and value.startswith(("INTER_", "BORDER_")):
        constant = getattr(cv2, value, None)
        if not isinstance(constant, int):
            raise UsageError(f"{where}: OpenCV has no {value}")
        return constant
    if isinstance(value, list | tuple):
        return tuple(_value(v, where) for v in value)
    return value


def _indices(declared: Any, where: str, classes: ClassTable | None) -> tuple[int, ...]:
    """Resolve class names and indices to indices."""
    names = classes.names if classes is not None else ()
    indices = {name.lower(): i for i, name in enumerate(names)}
    found = []
    for one in declared if isinstance(declared, list | tuple) else [declared]:
        index = indices.get(one.lower()) if isinstance(one, str) else one
        if type(index) is not int or not 0 <= index < (len(names) or VOID):
            known = f": one of {', '.join(names)}" if names else ": give class indices"
            raise UsageError(f"{where}: no class {one!r}{known}")
        found.append(index)
    return tuple(found)


def _suggest(name: Any, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(name), known, 3, 0.6)
    return f": did you mean {' or '.join(near)}?" if near else " of albumentations or rtseg"


def _why(error: Exception, where: str) -> str:
    """Say in one line what a transform has against its arguments."""
    # pydantic's own error lies under the ValueError that albumentations makes of it.
    details = getattr(error.__cause__, "errors", None)
    if details is None:
        return f"{where}: {one_line(error)}"
    first = details()[0]
    place = ".".join([where, *(str(part) for part in first["loc"][:1])])
    what = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{place}: is missing"
    value = first["input"]
    given = f"{list(value) if isinstance(value, tuple) else value!r}"
    return (
        f"{place}: is {given}: {' '.join(what.split())[:200]}"
        if first["loc"]
        else f"{place}: {what}"
    )


def _run(
    pipeline: A.Compose,
    frame: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    chance: int,
    where: str,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Run the pipeline; returns a picture (H, W, 3) uint8 RGB and a mask (H, W) uint8."""
    # All transforms draw from one stream. set_random_seed would give each the same numbers: a flip
    # and a blur of the same p would always come together.
    pipeline.set_random_state(np.random.default_rng(chance), random.Random(chance))
    try:
        # The mask is copied because the caller may keep his for other draws.
        sample = pipeline(image=cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), mask=mask.copy())
    except Exception as error:  # OpenCV's, numpy's and its own
        raise UsageError(
            f"{where}: cannot augment a picture of {frame.shape[1]}x{frame.shape[0]}: "
            f"{one_line(error)}"
        ) from error
    picture, target = sample["image"], sample["mask"]
    for what, array, sides in (("picture", picture, 3), ("mask", target, 2)):
        if array.dtype != np.uint8 or array.ndim != sides:
            raise UsageError(
                f"{where}: its {what} is {array.dtype} with {array.ndim} axes, not uint8 with "
                f"{sides}: leave out what normalises or changes the type"
            )
    return picture, np.ascontiguousarray(target)


def _by_chance(pipeline: Any) -> Iterator[Any]:
    """Yield the transforms that are now done and now not; of a OneOf one always is."""
    for transform in pipeline.transforms:
        if 0 < transform.p < 1 and not isinstance(pipeline, A.OneOf):
            yield transform
        if isinstance(transform, A.BaseCompose):
            yield from _by_chance(transform)


def _trial(width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    mask = rng.integers(0, 2, (height // 8, width // 8), np.uint8)
    size = (width, height)
    return (
        cv2.resize(frame, size).astype(np.uint8, copy=False),
        cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False),
    )


def _sizes(pipeline: A.Compose, where: str, scale: int) -> set[tuple[int, int]]:
    """Collect the (width, height) that come out, with rare transforms always on and always off."""
    rare = [(node, node.p) for node in _by_chance(pipeline)]
    trials = [_trial(width * scale, height * scale) for width, height in _TRIAL_SIZES]
    sizes = set()
    try:
        for p in (None, 0.0, 1.0):
            for node, declared in rare:
                node.p = declared if p is None else p
            for chance in range(_TRIAL_DRAWS):
                picture, target = _run(pipeline, *trials[chance % 2], chance, where)
                sizes.add((picture.shape[1], picture.shape[0]))
                sizes.add((target.shape[1], target.shape[0]))
    finally:
        for node, declared in rare:
            node.p = declared
    return sizes


def _fixed_size(pipeline: A.Compose, where: str) -> tuple[int, int]:
    """Find the size of the pipeline's pictures; ``UsageError`` where it is not fixed."""
    try:
        sizes = _sizes(pipeline, where, 1)
    except UsageError:
        # A crop may be larger than the trial's pictures without being wrong for the data.
        sizes = _sizes(pipeline, where, 4)
    if len(sizes) > 1:
        found = ", ".join(f"{w}x{h}" for w, h in sorted(sizes)[:3])
        raise UsageError(
            f"{where}: pictures come out in different sizes ({found} ...), and a batch needs one: "
            "use a crop of a fixed size, such as RandomResizedCrop, or end with a Resize"
        )
    return sizes.pop()
