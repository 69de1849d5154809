"""``pycuda.driver``'s memory: device allocations, page-locked arrays, copies and fills."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from doubles.device import Gpu
from doubles.failures import CudaFailure
from doubles.memory import Bytes
from doubles.pycuda_errors import LogicError, call


def host_bytes(buffer: Any, writable: bool) -> Bytes:
    """Return a host buffer's bytes; as pycuda, refuse what is not contiguous or not writable."""
    view = memoryview(buffer)
    if not view.contiguous:
        raise ValueError("ndarray is not contiguous")
    if writable and view.readonly:
        raise BufferError("Object is not writable.")
    flat = np.frombuffer(view, np.uint8) if not isinstance(buffer, np.ndarray) else buffer
    order = "F" if flat.flags.f_contiguous and not flat.flags.c_contiguous else "C"
    return flat.reshape(-1, order=order).view(np.uint8)


def make_memory(gpu: Gpu, contexts: SimpleNamespace) -> SimpleNamespace:
    """Return what ``pycuda.driver`` has for memory, bound to a GPU."""
    dependent = contexts.Dependent

    class DeviceAllocation(dependent):  # type: ignore[misc, valid-type]
        _valid = False

        def __init__(self) -> None:
            raise RuntimeError("This class cannot be instantiated from Python")

        def __int__(self) -> int:
            return int(self._address)

        __index__ = __int__

        def free(self) -> None:
            if not self._valid:
                raise LogicError("device_allocation::free failed: invalid resource handle")
            self._valid = False

            def release() -> None:
                gpu.refuse_in_capture()
                # Like cudaFree, it waits for the device.
                for stream in (gpu.current().legacy, *gpu.current().streams.values()):
                    gpu.wait(gpu.current(), stream.run)
                gpu.memory.free(self._address)

            self._cleanup("device_allocation", "cuMemFree", release)

        def as_buffer(self, size: int, offset: int = 0) -> Any:
            raise NotImplementedError("device memory is not the host's to read")

        def __del__(self) -> None:
            if self._valid:
                self.free()

    class PointerHolderBase:
        def get_pointer(self) -> int:
            raise NotImplementedError("Pure virtual function called")

        def __int__(self) -> int:
            return self.get_pointer()

        __index__ = __int__

    class HostPointer(dependent):  # type: ignore[misc, valid-type]
        _valid = False
        _what, _routine, _junk = "pagelocked_host_allocation", "cuMemFreeHost", True

        def __init__(self) -> None:
            raise RuntimeError("This class cannot be instantiated from Python")

        def get_device_pointer(self) -> int:
            return int(self._block.address)

        def _release(self) -> None:
            if not self._valid:
                raise LogicError(f"{self._what}::free failed: invalid resource handle")
            self._valid = False

            def release() -> None:
                gpu.refuse_in_capture()
                for stream in (gpu.current().legacy, *gpu.current().streams.values()):
                    gpu.wait(gpu.current(), stream.run)
                gpu.memory.unpin(self._block.address, junk=self._junk)

            self._cleanup(self._what, self._routine, release)

        def __del__(self) -> None:
            if self._valid:
                self._release()

    class PagelockedHostAllocation(HostPointer):
        def free(self) -> None:
            self._release()

        def get_flags(self) -> int:
            return 0

        @property
        def __array_interface__(self) -> dict[str, Any]:
            return self._interface  # type: ignore[no-any-return]

    class RegisteredHostMemory(HostPointer):
        _what, _routine, _junk = "registered_host_memory", "cuMemHostUnregister", False

        def unregister(self) -> None:
            self._release()

        @property
        def __array_interface__(self) -> dict[str, Any]:
            return self._interface  # type: ignore[no-any-return]

    def pointer(value: Any, what: str) -> int:
        """What Boost.Python takes for a ``CUdeviceptr``: an int, an allocation, a pointer holder."""
        if isinstance(value, (DeviceAllocation, PointerHolderBase)):
            if isinstance(value, DeviceAllocation) and not value._valid:
                with call(what):
                    raise CudaFailure(1)
            return int(value)
        if type(value) is not int:
            raise TypeError(
                f"Python argument types in pycuda._driver.{what}({type(value).__name__}, ...) did "
                "not match C++ signature: unsigned long long"
            )
        return value

    def queue(stream: Any) -> Any:
        if stream is None:
            return gpu.stream(0)
        if not isinstance(stream, contexts.Stream):
            raise TypeError(f"No registered converter was able to produce a C++ Stream of {stream}")
        return gpu.stream(stream.handle)

    def mem_alloc(bytes: int) -> DeviceAllocation:
        if type(bytes) is not int:
            raise TypeError(
                f"Python argument types in pycuda._driver.mem_alloc({type(bytes).__name__}) did "
                "not match C++ signature: mem_alloc(unsigned long)"
            )
        with call("cuMemAlloc"):
            context = gpu.current()
            gpu.refuse_in_capture()
            block = gpu.memory.allocate(bytes, context)
        made = object.__new__(DeviceAllocation)
        made._acquire()
        made._address, made._valid = block.address, True
        return made

    def mem_alloc_pitch(width: int, height: int, access_size: int) -> tuple[Any, int]:
        pitch = -(-width // 512) * 512
        return mem_alloc(pitch * height), pitch

    def mem_get_info() -> tuple[int, int]:
        with call("cuMemGetInfo"):
            gpu.current()
        return gpu.memory.limit - gpu.memory.used, gpu.memory.total

    def host(kind: Any, block: Any, shape: Any, dtype: Any, order: str) -> Any:
        made = object.__new__(kind)
        made._acquire()
        made._block, made._valid = block, True
        template = np.empty(shape, dtype, order=order)  # type: ignore[call-overload]
        interface = dict(template.__array_interface__)
        interface["data"] = (block.address, False)
        interface["strides"] = template.strides
        made._interface = interface
        return np.asarray(made)

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        with call("cuMemHostAlloc"):
            context = gpu.current()
            gpu.refuse_in_capture()
            block = gpu.memory.pin(size, context)
        return host(PagelockedHostAllocation, block, shape, dtype, order)

    def pagelocked_zeros(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        result = pagelocked_empty(shape, dtype, order, mem_flags)
        result.fill(0)
        return result

    def pagelocked_empty_like(array: Any, mem_flags: int = 0) -> Any:
        order = "C" if array.flags.c_contiguous else "F"
        return pagelocked_empty(array.shape, array.dtype, order, mem_flags)

    def pagelocked_zeros_like(array: Any, mem_flags: int = 0) -> Any:
        result = pagelocked_empty_like(array, mem_flags)
        result.fill(0)
        return result

    def register_host_memory(ary: Any, flags: int = 0) -> Any:
        data = host_bytes(ary, writable=True)
        with call("cuMemHostRegister"):
            context = gpu.current()
            if gpu.memory.is_pinned(data):
                raise CudaFailure(712)
            block = gpu.memory.register(data, context)
        return host(RegisteredHostMemory, block, ary.shape, ary.dtype, "C")

    def memcpy_htod(dest: Any, src: Any) -> None:
        with call("cuMemcpyHtoD"):
            gpu.current()
            gpu.copy_in(pointer(dest, "memcpy_htod"), host_bytes(src, False), None)

    def memcpy_htod_async(dest: Any, src: Any, stream: Any = None) -> None:
        with call("cuMemcpyHtoDAsync"):
            target = pointer(dest, "memcpy_htod_async")
            gpu.copy_in(target, host_bytes(src, False), queue(stream))

    def memcpy_dtoh(dest: Any, src: Any) -> None:
        with call("cuMemcpyDtoH"):
            gpu.current()
            gpu.copy_out(host_bytes(dest, True), pointer(src, "memcpy_dtoh"), None)

    def memcpy_dtoh_async(dest: Any, src: Any, stream: Any = None) -> None:
        with call("cuMemcpyDtoHAsync"):
            source = pointer(src, "memcpy_dtoh_async")
            gpu.copy_out(host_bytes(dest, True), source, queue(stream))

    def memcpy_dtod(dest: Any, src: Any, size: int) -> None:
        with call("cuMemcpyDtoD"):
            gpu.current()
            gpu.copy_across(pointer(dest, "dtod"), pointer(src, "dtod"), size, None)

    def memcpy_dtod_async(dest: Any, src: Any, size: int, stream: Any = None) -> None:
        with call("cuMemcpyDtoDAsync"):
            gpu.copy_across(pointer(dest, "dtod"), pointer(src, "dtod"), size, queue(stream))

    def fill(dest: Any, data: int, size: int, dtype: Any, stream: Any) -> None:
        address, count = pointer(dest, "memset"), size * np.dtype(dtype).itemsize
        gpu.memory.view(address, count)
        gpu.put(stream, lambda: gpu.memory.view(address, count, 700).view(dtype).fill(data))

    def memset_d8(dest: Any, data: int, size: int) -> None:
        with call("cuMemsetD8"):
            fill(dest, data, size, np.uint8, queue(None))

    def memset_d8_async(dest: Any, data: int, size: int, stream: Any = None) -> None:
        with call("cuMemsetD8Async"):
            fill(dest, data, size, np.uint8, queue(stream))

    def memset_d32(dest: Any, data: int, size: int) -> None:
        with call("cuMemsetD32"):
            fill(dest, data, size, np.uint32, queue(None))

    def memset_d32_async(dest: Any, data: int, size: int, stream: Any = None) -> None:
        with call("cuMemsetD32Async"):
            fill(dest, data, size, np.uint32, queue(stream))

    def mem_alloc_like(ary: Any) -> DeviceAllocation:
        return mem_alloc(int(ary.nbytes))

    def to_device(bf_obj: Any) -> DeviceAllocation:
        content = memoryview(bf_obj).tobytes()
        result = mem_alloc(len(content))
        memcpy_htod(result, content)
        return result

    def from_device(devptr: Any, shape: Any, dtype: Any, order: str = "C") -> Any:
        result = np.empty(shape, dtype, order)  # type: ignore[call-overload]
        memcpy_dtoh(result, devptr)
        return result

    def from_device_like(devptr: Any, other_ary: Any) -> Any:
        result = np.empty_like(other_ary)
        memcpy_dtoh(result, devptr)
        return result

    public = (
        DeviceAllocation, PointerHolderBase, HostPointer, PagelockedHostAllocation,
        RegisteredHostMemory, mem_alloc, mem_alloc_pitch, mem_alloc_like, mem_get_info,
        pagelocked_empty, pagelocked_zeros, pagelocked_empty_like, pagelocked_zeros_like,
        register_host_memory, memcpy_htod, memcpy_htod_async, memcpy_dtoh, memcpy_dtoh_async,
        memcpy_dtod, memcpy_dtod_async, memset_d8, memset_d8_async, memset_d32, memset_d32_async,
        to_device, from_device, from_device_like,
    )  # fmt: skip
    names = {each.__name__: each for each in public}
    return SimpleNamespace(
        **names, HostAllocation=PagelockedHostAllocation, _pointer=pointer, _queue=queue
    )
