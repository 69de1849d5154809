"""The resize and the painting on the GPU: compiled once for a GPU, and the tables that they read.

The arithmetic is OpenCV's (``cv2.resize`` bilinear and nearest, ``cv2.addWeighted``, as the 4.10 to
5.0 releases compute them for uint8), so that the host and the GPU give the same bytes. Whatever
needs floating point but does not change with the picture is computed here, in tables.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from dataclasses import dataclass, replace
from importlib import resources
from itertools import accumulate
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rtseg.engine.cache import KERNELS, EngineCache, cache_folder
from rtseg.engine.pictures import Paint, nearest
from rtseg.engine.tensorrt.driver import Device
from rtseg.errors import BackendError, one_line

_ONE: Final = 1 << 11
"""A weight of 1 in OpenCV's fixed point (INTER_RESIZE_COEF_BITS is 11)."""


def source() -> bytes:
    """Return the kernels' CUDA C."""
    return (resources.files("rtseg.engine.tensorrt") / "kernels.cu").read_bytes()


def neighbours(length: int, short: int) -> NDArray[np.int32]:
    """Return (short, 4): the two of ``length`` pixels that each place lies between, their weights.

    In single precision, and by the reciprocal of the reciprocal, as OpenCV computes it. Beyond the
    edge the two are the same.
    """
    scale = 1 / (short / length)
    at = ((np.arange(short) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(at)
    share = at - first
    one = np.float32(1)
    weights = (np.rint(part * np.float32(_ONE)) for part in (one - share, share))
    places = (np.clip(first + i, 0, length - 1) for i in (0, 1))
    return np.stack([*places, *weights], axis=1).astype(np.int32)


def resize_columns(width: int, small_width: int) -> NDArray[np.int32]:
    """Return (small_width, 4): the byte offsets of a column's two pixels in a line, their weights."""
    return neighbours(width, small_width) * np.array([3, 3, 1, 1], np.int32)


@dataclass(frozen=True)
class Tables:
    """The sizes (width, height) of picture, network and mask, and the tables that come of them.

    ``columns`` and the others are the addresses of the tables on the device.
    """

    size: tuple[int, int]
    small_size: tuple[int, int]
    mask_size: tuple[int, int]
    columns: int = 0
    rows: int = 0
    mask_columns: int = 0
    mask_rows: int = 0

    def content(self) -> NDArray[np.int32]:
        """The four tables one after the other."""
        return np.concatenate([table.reshape(-1) for table in self._make()])

    def at(self, address: int) -> Tables:
        """Return these with the addresses that they have when the content lies at ``address``."""
        columns, rows, mask_columns, _ = (table.nbytes for table in self._make())
        ends = (address, *(address + n for n in accumulate((columns, rows, mask_columns))))
        return replace(self, columns=ends[0], rows=ends[1], mask_columns=ends[2], mask_rows=ends[3])

    def _make(self) -> tuple[NDArray[np.int32], ...]:
        (width, height), (small_width, small_height) = self.size, self.small_size
        return (
            resize_columns(width, small_width),
            neighbours(height, small_height),
            nearest(self.mask_size[0], width).astype(np.int32),
            nearest(self.mask_size[1], height).astype(np.int32),
        )


def blending(paint: Paint) -> NDArray[np.float32]:
    """Return (256, 4): what a class adds to blue, green and red, and the share that the picture keeps.

    A class that is not painted adds nothing, and its share is 1.
    """
    painted = (paint.painted != 0)[:, None]
    opacity = np.float32(paint.opacity)
    table = np.empty((256, 4), np.float32)
    table[:, :3] = np.where(painted, paint.colours.astype(np.float32) * opacity, 0)
    table[:, 3:] = np.where(painted, np.float32(1 - paint.opacity), 1)
    return table


def _by_nvrtc(text: bytes, arch: str) -> bytes:
    """Compile with cuda-python's NVRTC, which needs no toolkit."""
    try:
        nvrtc = importlib.import_module("cuda.bindings.nvrtc")
    except Exception as error:  # it also raises RuntimeError where its library is missing
        raise BackendError(f"cuda-python: {one_line(error)}") from error

    def call(name: str, *arguments: Any) -> Any:
        try:
            status, *values = getattr(nvrtc, name)(*arguments)
        except Exception as error:  # the library is loaded at the first call
            raise BackendError(f"cuda-python: {name}: {one_line(error)}") from error
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise BackendError(f"cuda-python: {name}: {status.name}")
        return values[0] if values else None

    program = call("nvrtcCreateProgram", text, b"kernels.cu", 0, [], [])
    try:
        try:
            call("nvrtcCompileProgram", program, 1, [f"--gpu-architecture={arch}".encode()])
        except BackendError as error:
            said = b" " * call("nvrtcGetProgramLogSize", program)
            call("nvrtcGetProgramLog", program, said)
            words = " ".join(said.rstrip(b"\0 ").decode(errors="replace").split())
            raise BackendError(f"{error} {words[:200]}".rstrip()) from error
        # The binding writes into the bytes that it is given.
        image: bytes = b" " * call("nvrtcGetCUBINSize", program)
        call("nvrtcGetCUBIN", program, image)
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return image


def _by_nvcc(text: bytes, arch: str) -> bytes:
    """Compile with the toolkit's nvcc, through pycuda."""
    try:
        compiler = importlib.import_module("pycuda.compiler")
        image: bytes = compiler.compile(
            text.decode(), options=[], no_extern_c=True, arch=arch, cache_dir=False
        )
    except Exception as error:  # pytools' and pycuda's own, and OSError without an nvcc
        raise BackendError(f"nvcc: {one_line(error)}") from error
    return image


@functools.cache
def compile_kernels(arch: str) -> bytes:
    """Compile the kernels for a GPU, ``sm_90`` say; returns the cubin.

    By NVRTC where cuda-python is installed, else by nvcc. ``BackendError`` says why neither could.
    """
    text = source()
    reasons = []
    for compiled in (_by_nvrtc, _by_nvcc):
        try:
            return compiled(text, arch)
        except BackendError as error:
            reasons.append(str(error))
    raise BackendError(
        f"the GPU's resize and painting cannot be compiled for {arch}: {'; '.join(reasons)}: "
        "pip install 'cuda-python', or put nvcc on the PATH"
    )


class Kernels:
    """The two kernels, loaded on a device whose context is current.

    The compiled ones are kept in ``cache`` (default: a folder in that of the engines).
    ``BackendError`` where they cannot be had.
    """

    def __init__(self, device: Device, cache: EngineCache | None = None) -> None:
        cuda = device.cuda
        cache = cache or EngineCache(cache_folder() / KERNELS)
        arch = "sm_" + device.compute_capability.replace(".", "")
        key = {
            "kernels": hashlib.sha256(source()).hexdigest(),
            "arch": arch,
            "cuda": device.cuda_version,
        }
        image = cache.read("kernels", key)
        fresh = image is None
        if image is None:
            image = compile_kernels(arch)
        try:
            self._module = cuda.module_from_buffer(image)
            self._shrink = self._module.get_function("shrink")
            self._paint = self._module.get_function("paint")
            self._shrink.prepare("PPPPiii")
            self._paint.prepare("PPPPPiii")
        except cuda.Error as error:
            raise BackendError(
                f"{device.name} does not take its resize and painting, compiled for {arch}: "
                f"{one_line(error)}: update the driver"
            ) from error
        if fresh:  # only what the driver has taken
            cache.write("kernels", key, image)

    def shrink(self, stream: Any, picture: int, small: int, tables: Tables) -> None:
        """Queue the resize of the picture at an address to the one at another."""
        width, height = tables.small_size
        self._shrink.prepared_async_call(
            (-(-width // 32), -(-height // 8)),
            *((32, 8, 1), stream, picture, small, tables.columns, tables.rows),
            *(3 * tables.size[0], width, height),
        )

    def paint(self, stream: Any, picture: int, mask: int, blending: int, tables: Tables) -> None:
        """Queue the painting of the picture at an address, in place.

        The picture's memory reaches to a multiple of 12 bytes. ``mask`` and ``blending``
        (:func:`blending`) are addresses too.
        """
        width, height = tables.size
        threads = -(-width * height // 4)
        self._paint.prepared_async_call(
            (-(-threads // 256), 1),
            *((256, 1, 1), stream, picture, mask, tables.mask_columns, tables.mask_rows, blending),
            *(width, width * height, tables.mask_size[0]),
        )
