"""The GPU's kernels, compiled by g++ as plain C++: a thread after another, in the host's memory."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import rtseg

SOURCE = Path(rtseg.__file__).parent / "engine" / "tensorrt" / "kernels.cu"

# What nvcc has built in, and one function that runs a grid of threads in order.
_SHIM = r"""
#include <cmath>
#define __global__
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct dim3 { unsigned int x, y, z; };
static dim3 threadIdx, blockIdx, blockDim;
static inline float __fmaf_rn(float a, float b, float c) { return std::fmaf(a, b, c); }
static inline int __float2int_rn(float value) { return (int)std::nearbyintf(value); }
#include "kernels.cu"
template <typename Thread> static void run(dim3 grid, dim3 block, Thread thread) {
    blockDim = block;
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
            for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y)
                for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x)
                    thread();
}
extern "C" void run_shrink(const unsigned int* g, const unsigned char* picture,
        unsigned char* small, const int4* columns, const int4* rows, int a, int b, int c) {
    run({g[0], g[1], 1}, {g[2], g[3], 1}, [=] { shrink(picture, small, columns, rows, a, b, c); });
}
extern "C" void run_paint(const unsigned int* g, unsigned int* picture, const unsigned char* mask,
        const int* columns, const int* rows, const float4* paints, int a, int b, int c) {
    run({g[0], g[1], 1}, {g[2], g[3], 1},
        [=] { paint(picture, mask, columns, rows, paints, a, b, c); });
}
"""


class CpuKernels:
    """``shrink`` and ``paint`` with the arguments of a launch: grid, block, addresses, numbers."""

    def __init__(self, folder):
        if shutil.which("g++") is None:
            pytest.skip("no g++ to compile the kernels for the CPU")
        (folder / "shim.cpp").write_text(_SHIM)
        library = folder / "kernels.so"
        subprocess.run(
            ["g++", "-std=c++17", "-O2", "-shared", "-fPIC", "-Wall", "-Werror",
             "-Wno-unknown-pragmas", f"-I{SOURCE.parent}", "shim.cpp", "-o", str(library)],
            cwd=folder,
            check=True,
        )  # fmt: skip
        self._library = ctypes.CDLL(str(library))

    def _launch(self, name, pointers, grid, block, arguments):
        shape = (ctypes.c_uint * 4)(grid[0], grid[1], block[0], block[1])
        converted = [
            ctypes.c_void_p(int(a)) if i < pointers else ctypes.c_int(int(a))
            for i, a in enumerate(arguments)
        ]
        getattr(self._library, name)(shape, *converted)

    def shrink(self, grid, block, *arguments):
        """Run the kernel of this name over a grid."""
        self._launch("run_shrink", 4, grid, block, arguments)

    def paint(self, grid, block, *arguments):
        """Run the kernel of this name over a grid."""
        self._launch("run_paint", 5, grid, block, arguments)


class Function:
    """A kernel as pycuda gives it, run at once."""

    def __init__(self, run):
        self.run = run

    def prepare(self, formats):
        self.formats = formats

    def prepared_async_call(self, grid, block, stream, *arguments):
        assert len(arguments) == len(self.formats)
        self.run(grid, block, *arguments)


def address(array):
    """Where an array's memory is."""
    return array.ctypes.data


def guarded(shape, dtype=np.uint8, room=64):
    """Return an array with bytes behind it that must stay as they are, and those bytes."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    whole = np.full(count + room + 16, 0xA5, np.uint8)
    start = -address(whole) % 16
    return whole[start : start + count].view(dtype).reshape(shape), whole[start + count :]
