"""A Ray cluster: one that is there, or one of this process's own, for this machine alone."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rtseg.engine.machine import usable_cores
from rtseg.errors import BackendError, UsageError, one_line, require_extra

_TIMEOUT_S = 10.0
_STORE_BYTES = 512 << 20  # of decoded video; descriptions and records are small

_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
"""How a client of gRPC begins; the server's answer is of the frame type 4, too."""


def check_address(address: str | None) -> None:
    """Check that Ray is installed and that a cluster answers, before the long work.

    ``UsageError`` for a malformed address or without Ray, ``BackendError`` where nobody answers.
    """
    require_extra("--ray", "ray", "ray", "pyarrow", "pandas")
    if address is None:
        return
    if "://" in address:
        raise UsageError(
            f"--ray {address}: give HOST:PORT of the cluster's head, on one of its machines"
        )
    if address == "auto":
        address = _running()
        if address is None:
            raise BackendError("--ray auto: no Ray runs on this machine: ray start --head")
    match = re.fullmatch(r"\[?([^\s/]+?)\]?:(\d{1,5})", address)
    if match is None or not 0 < int(match[2]) < 65536:
        raise UsageError(f"--ray {address}: give HOST:PORT of the cluster's head, or auto")
    # Ray itself would try for minutes, and then end this process.
    try:
        with socket.create_connection((match[1], int(match[2])), _TIMEOUT_S) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.sendall(_HTTP2)
            answer = connection.recv(9, socket.MSG_WAITALL)
    except OSError as error:
        raise BackendError(
            f"--ray {address}: no cluster can be reached there: {error.strerror or error}"
        ) from error
    if answer[3:4] != b"\x04":
        raise BackendError(f"--ray {address}: what answers there is not Ray")


def _running() -> str | None:
    """The address of the cluster that ``auto`` means, as ``ray start`` left it on this machine."""
    address = os.environ.get("RAY_ADDRESS")
    if address and address != "auto":
        return address
    with contextlib.suppress(OSError):
        folder = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray")  # Ray's own rule
        return (folder / "ray_current_cluster").read_text(encoding="utf-8").strip() or None
    return None


@contextlib.contextmanager
def joined(address: str | None) -> Iterator[Any]:
    """Give the module ``ray``, in a cluster: that of ``address``, or one that ends with this.

    Where this process is in a cluster already, that is the one, and it is left as it was. Ray is
    told to send no usage statistics and to print nothing; a cluster of our own listens on the
    loopback only. ``BackendError`` where there is none or its versions are others.
    """
    check_address(address)
    # These are read when Ray is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Else a thread of Ray Data's that outlives the cluster would start another.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    if address is None:
        # Without this Ray listens on all interfaces; it has the name of where that is the default.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray
    import ray.data

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {
            "address": "local",
            "num_cpus": usable_cores(),
            "object_store_memory": _STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        with _own_signals(), _without_stderr():
            ray.init(
                **options, log_to_driver=False, configure_logging=False, ignore_reinit_error=False
            )
    except Exception as error:  # of any kind
        where = "Ray" if address is None else f"--ray {address}"
        raise BackendError(f"{where}: {_said(error)}") from error
    try:
        yield ray
    finally:
        with _own_signals():
            ray.shutdown()


def nodes(ray: Any) -> list[dict[str, float]]:
    """Return the resources of each node that is alive: ``CPU``, ``GPU`` and others."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handlers of signals, which Ray replaces by its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    before = [(number, signal.getsignal(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            if handler is not None:
                signal.signal(number, handler)


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Let nothing reach standard error: Ray's core says there that it was told to be quiet."""
    with contextlib.suppress(AttributeError, OSError):  # a program without one
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _said(error: Exception) -> str:
    """Ray's error in a line."""
    text = str(error)
    if "ersion mismatch" in text:
        versions = re.findall(r"(Ray|Python): (\S+)", text)
        halves = (", ".join(f"{n} {v}" for n, v in part) for part in (versions[:2], versions[2:4]))
        cluster, ours = halves
        return f"the cluster has {cluster}, this process {ours}: they have to be the same"
    if isinstance(error, ConnectionError):
        return (
            "Ray does not let this process join: it has to be on one of the nodes, and if these "
            "share a token RAY_AUTH_MODE=token has to be set"
        )
    return one_line(error)
