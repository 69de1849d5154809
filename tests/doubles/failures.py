"""CUDA's error codes, with the words that the driver has for them."""

from __future__ import annotations

TEXTS = {
    1: "invalid argument",
    2: "out of memory",
    3: "initialization error",
    35: "CUDA driver version is insufficient for CUDA runtime version",
    98: "invalid device function",
    100: "no CUDA-capable device is detected",
    101: "invalid device ordinal",
    200: "device kernel image is invalid",
    201: "invalid device context",
    209: "no kernel image is available for execution on the device",
    400: "invalid resource handle",
    500: "named symbol not found",
    600: "device not ready",
    700: "an illegal memory access was encountered",
    709: "context is destroyed",
    712: "part or all of the requested memory range is already mapped",
    716: "misaligned address",
    719: "unspecified launch failure",
    900: "operation not permitted when stream is capturing",
    901: "operation failed due to a previous error during capture",
    904: "capturing stream has unjoined work",
    905: "dependency created on uncaptured work in another stream",
    906: "operation would make the legacy stream depend on a capturing blocking stream",
    907: "operation not permitted on an event last recorded in a capturing stream",
    908: "attempt to terminate a thread-local capture sequence from another thread",
}

INVALID_VALUE, OUT_OF_MEMORY, NOT_INITIALIZED, OLD_DRIVER, NO_DEVICE = 1, 2, 3, 35, 100
INVALID_DEVICE, INVALID_IMAGE, INVALID_CONTEXT, INVALID_HANDLE = 101, 200, 201, 400
NOT_FOUND, NOT_READY, ILLEGAL_ADDRESS, LAUNCH_FAILED = 500, 600, 700, 719
CAPTURING, CAPTURE_INVALIDATED, UNJOINED, UNCAPTURED = 900, 901, 904, 905
IMPLICIT, CAPTURED_EVENT, WRONG_THREAD = 906, 907, 908


class CudaFailure(Exception):  # noqa: N818 - it is what CUDA calls a result
    """A call of the driver or runtime that did not succeed: its code and what is known besides."""

    def __init__(self, code: int, detail: str = "") -> None:
        super().__init__(TEXTS.get(code, f"error {code}"))
        self.code = code
        self.detail = detail
