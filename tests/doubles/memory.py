"""Memory of the simulated GPU: device blocks with addresses, and page-locked host memory."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from doubles.failures import ILLEGAL_ADDRESS, INVALID_VALUE, OUT_OF_MEMORY, CudaFailure

Bytes = NDArray[np.uint8]
JUNK = 0xCD
"""What fresh and freed memory holds, so that nothing passes by luck."""


@dataclass(eq=False)
class Block:
    """A piece of memory: ``kind`` is ``device``, ``pinned``, ``engine`` or ``context``."""

    address: int
    size: int
    data: Bytes
    kind: str
    owner: Any
    """The CUDA context in which it was allocated."""


class Memory:
    """Blocks by address; device memory is bounded, host memory is where numpy put it."""

    def __init__(self, total: int, limit: int | None, alignment: int) -> None:
        self.total = total
        self.limit = total if limit is None else min(limit, total)
        self.alignment = alignment
        self.blocks: dict[int, Block] = {}
        self.pinned: dict[int, Block] = {}
        self.peak = 0
        self._next = 0x7F20_0000_0000
        self._freed: set[int] = set()

    @property
    def used(self) -> int:
        """Bytes of device memory that are allocated."""
        return sum(block.size for block in self.blocks.values())

    def allocate(self, size: int, owner: Any, kind: str = "device") -> Block:
        """Take ``size`` bytes of device memory, full of junk."""
        if size <= 0:
            raise CudaFailure(INVALID_VALUE)
        if self.used + size > self.limit:
            raise CudaFailure(OUT_OF_MEMORY)
        # As a driver gives it: at least 256-byte aligned; less on request, to test the checks.
        address = self._next + (self.alignment % 256)
        self._next += -(-size // 512) * 512 + 512
        data = np.full(size, JUNK, np.uint8)
        block = self.blocks[address] = Block(address, size, data, kind, owner)
        self.peak = max(self.peak, self.used)
        return block

    def free(self, address: int) -> None:
        """Give a block back; its content turns to junk."""
        block = self.blocks.pop(address, None)
        if block is None:
            raise CudaFailure(INVALID_VALUE)
        block.data[:] = JUNK
        self._freed.add(address)

    def view(self, address: int, size: int, code: int = INVALID_VALUE) -> Bytes:
        """Return ``size`` bytes of device memory at ``address``; ``code`` where they are not."""
        starts = sorted(self.blocks)
        index = bisect_right(starts, address) - 1
        if index >= 0:
            block = self.blocks[starts[index]]
            offset = address - block.address
            if offset + size <= block.size:
                return block.data[offset : offset + size]
        raise CudaFailure(code, f"no allocation holds {size} bytes at {address:#x}")

    def kernel_view(self, address: int, size: int) -> Bytes:
        """Return memory as a kernel sees it: an address outside is an illegal access."""
        pinned = self._pinned_at(address, size)
        if pinned is not None:
            offset = address - pinned.address
            return pinned.data[offset : offset + size]
        return self.view(address, size, ILLEGAL_ADDRESS)

    def pin(self, size: int, owner: Any) -> Block:
        """Allocate page-locked host memory."""
        if size <= 0:
            raise CudaFailure(INVALID_VALUE)
        whole = np.full(size + 4096, JUNK, np.uint8)
        start = -whole.ctypes.data % 4096
        return self.register(whole[start : start + size], owner)

    def register(self, data: Bytes, owner: Any) -> Block:
        """Page-lock memory that exists."""
        address = data.ctypes.data
        block = self.pinned[address] = Block(address, data.size, data, "pinned", owner)
        return block

    def unpin(self, address: int, junk: bool = True) -> None:
        """Undo :meth:`pin` (its content turns to junk) or :meth:`register`."""
        block = self.pinned.pop(address, None)
        if block is None:
            raise CudaFailure(INVALID_VALUE)
        if junk:
            block.data[:] = JUNK

    def is_pinned(self, data: Bytes) -> bool:
        """Whether host memory lies whole in page-locked memory."""
        return self._pinned_at(data.ctypes.data, data.size) is not None

    def _pinned_at(self, address: int, size: int) -> Block | None:
        for block in self.pinned.values():
            if block.address <= address and address + size <= block.address + block.size:
                return block
        return None
