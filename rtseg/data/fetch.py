"""Downloads that may be cut off: gone on with later, checked, and under their name only when whole.

What has come is in ``FILE.part``, and in ``FILE.part.json`` what it is a part of. It is gone on with
(RFC 9110, section 14: ``Range``) only if it is a part of the same: if the server says so
(``If-Range``, with a strong ETag or a date), or if a SHA-256 will tell.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rtseg import __version__
from rtseg.data.members import Report
from rtseg.data.resume import Part
from rtseg.errors import InputError, OutputError, UsageError

_CHUNK = 1 << 18
_TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504))


@dataclass(frozen=True)
class Fetched:
    """A whole file: its path, size in bytes, SHA-256, and whether that is the one asked for."""

    path: Path
    size: int
    sha256: str
    verified: bool


class _Dropped(Exception):  # noqa: N818  no error: it is tried again
    """The connection ended early; ``wait`` is what the server asked for, in seconds."""

    def __init__(self, why: str, wait: float = 0) -> None:
        super().__init__(why)
        self.wait = wait


class _OtherFileError(Exception):
    """What the server has now does not go on where the part ends."""


def shown(url: str) -> str:
    """The address without what may be secret in it: the user, the password, the query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def file_name(url: str) -> str:
    """The name under which the file of an address is kept."""
    name = unquote(urlsplit(url).path).replace("\\", "/").rstrip("/").rpartition("/")[2]
    name = "".join(c for c in name if c.isprintable())[-200:].lstrip(".")
    return name or "download"


def check_url(url: str) -> None:
    """``UsageError`` if ``url`` is no http, https or file address."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  it raises
    except ValueError as error:
        raise UsageError(f"{url!r}: not an address: {error}") from error
    if parts.scheme not in ("http", "https", "file"):
        raise UsageError(
            f"{url!r}: give an address that begins with https://, http:// or file://; "
            "no data set is known here by a name alone"
        )
    if parts.scheme != "file" and not parts.hostname:
        raise UsageError(f"{shown(url)}: this address names no server")
    if "@" in parts.netloc:
        raise UsageError(f"{shown(url)}: addresses with a user and password are not supported")
    if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
        raise UsageError(f"{shown(url)}: give a file of this machine: file:///PATH")


def fetch_file(
    url: str,
    path: Path,
    sha256: str | None = None,
    *,
    report: Report = lambda done, total: None,
    say: Callable[[str], None] = lambda line: None,
    tries: int = 5,
    timeout: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Download ``url`` to ``path``, or check a file that is there already (a file address: always).

    ``sha256`` is the file's digest in hex; with it another file is never accepted, without it only
    the size is checked. A connection that is dropped or silent for ``timeout`` seconds is tried
    again after 1, 2, 4 ... seconds, until ``tries`` in a row have brought nothing. ``report`` is
    told the bytes that are there; ``say`` is told what went wrong and is tried again. ``UsageError``
    for an address that is none; ``InputError`` if it cannot be fetched or is another file;
    ``OutputError`` if it cannot be written.
    """
    check_url(url)
    if urlsplit(url).scheme == "file":
        return _checked(Path(urllib.request.url2pathname(urlsplit(url).path)), sha256)
    if path.exists():
        if sha256 is None:
            raise OutputError(f"{path}: exists already: move it away, or give its --sha256")
        return _checked(path, sha256)
    part = Part(path, url, sha256 is not None)
    with part.open():
        _complete(url, part, report, say, tries, timeout, sleep)
        part.sync()
    found = _digest(part.path)
    if sha256 is not None and found != sha256.lower():
        part.remove()
        raise InputError(
            f"{shown(url)}: not the file that was asked for: its SHA-256 is {found}, "
            f"not {sha256.lower()}; the download was removed"
        )
    if part.total is None and sha256 is None:
        say(f"{shown(url)}: the server did not tell the size: nothing tells whether it is whole")
    try:
        os.replace(part.path, path)
        part.remove()
    except OSError as error:
        raise OutputError(f"{path}: cannot write this file: {error.strerror}") from error
    return Fetched(path, path.stat().st_size, found, sha256 is not None)


def _checked(path: Path, sha256: str | None) -> Fetched:
    try:
        found, size = _digest(path), path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot read this file: {error.strerror}") from error
    if sha256 is not None and found != sha256.lower():
        raise InputError(
            f"{path}: not the file that was asked for: its SHA-256 is {found}, "
            f"not {sha256.lower()}: move it away"
        )
    return Fetched(path, size, found, sha256 is not None)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _complete(
    url: str,
    part: Part,
    report: Report,
    say: Callable[[str], None],
    tries: int,
    timeout: float,
    sleep: Callable[[float], None],
) -> None:
    """Ask until the part is whole."""
    failures, ranges = 0, True
    while not (part.total is not None and part.size == part.total > 0):
        before = part.size
        try:
            _ask(url, part, ranges, failures == 0, timeout, report)
            return
        except _OtherFileError as reason:
            failures += 1
            ranges = False
            if failures >= tries:
                raise InputError(f"{shown(url)}: {reason}, again and again") from reason
            say(f"{shown(url)}: {reason}: starting anew")
            part.start(None, None)
        except _Dropped as reason:
            failures = 1 if part.size > before else failures + 1
            if failures >= tries:
                kept = f"{part.size / 1e6:.1f} MB are kept in {part.path}: run this again to go on"
                raise InputError(
                    f"{shown(url)}: {reason}, {failures} times in a row"
                    f"{'; ' + kept if part.size else ''}"
                ) from reason
            pause = max(2.0 ** (failures - 1), min(reason.wait, 60.0))
            say(f"{shown(url)}: {reason} after {part.size / 1e6:.1f} MB: going on in {pause:.0f} s")
            sleep(pause)


def _ask(url: str, part: Part, ranges: bool, first: bool, timeout: float, report: Report) -> None:
    """Make one request, and write what comes; returns when the part is whole."""
    headers = {"User-Agent": f"rtseg/{__version__}", "Accept-Encoding": "identity"}
    if part.size and ranges and part.can_go_on:
        headers["Range"] = f"bytes={part.size}-"
        if part.validator:
            headers["If-Range"] = part.validator
    try:
        with _OPENER.open(urllib.request.Request(url, headers=headers), timeout=timeout) as reply:
            if reply.status == 206 and "Range" in headers:
                _check_range(reply.headers, part)
            elif reply.status in (200, 203):
                part.start(_length(reply.headers), _validator(reply.headers))
            else:
                raise InputError(f"{shown(url)}: the server replied {reply.status}, not a file")
            part.require_space()
            report(part.size, part.total)
            left = _CHUNK
            while left and (chunk := reply.read1(left)):
                part.write(chunk)
                report(part.size, part.total)
                left = _CHUNK if part.total is None else min(_CHUNK, part.total - part.size)
            if reply.chunked and part.total is None:  # a chunked reply has an end of its own
                part.total = part.size
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and part.size:
                raise _OtherFileError("the server has no more of what was begun") from error
            if error.code in _TRANSIENT:
                after = error.headers.get("Retry-After", "")
                raise _Dropped(
                    f"the server replied {error.code} {error.reason}",
                    float(after) if re.fullmatch(r"\d{1,6}", after) else 0,
                ) from error
            raise InputError(
                f"{shown(url)}: the server replied {error.code} {error.reason}"
            ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise InputError(f"{shown(url)}: {reason.verify_message}") from error
        if isinstance(reason, socket.gaierror) and first:
            raise InputError(
                f"{shown(url)}: no such server, or no network: {reason.strerror}"
            ) from error
        if isinstance(error, http.client.InvalidURL | ValueError):
            raise UsageError(f"{shown(url)}: not an address: {error}") from error
        raise _Dropped(_named(reason)) from error
    if part.total is not None and part.size < part.total:
        raise _Dropped("the connection was dropped")


def _named(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "the server fell silent"
    if isinstance(reason, ConnectionRefusedError):
        return "the server refused the connection"
    if isinstance(reason, (ConnectionError, http.client.IncompleteRead)):
        return "the connection was dropped"
    return f"the connection failed ({reason})"


def _length(headers: Message) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"\d{1,18}", text) else None


def _validator(headers: Message) -> str | None:
    """What tells whether the file is still the same: If-Range takes a strong ETag, or a date."""
    tag: str = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


def _check_range(headers: Message, part: Part) -> None:
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", ""))
    total = int(match[3]) if match and match[3] != "*" else part.total
    now = _validator(headers)
    if match is None or int(match[1]) != part.size or (part.total and total != part.total):
        raise _OtherFileError("the server sent another part than was asked for")
    if part.validator and now and now != part.validator:
        raise _OtherFileError("the file has changed on the server")
    if part.total is None:
        part.total = total


def _opener() -> urllib.request.OpenerDirector:
    """Build what urllib builds, without addresses of files, FTP and data to be led to."""
    opener = urllib.request.OpenerDirector()
    handlers: tuple[type[Any], ...] = (
        urllib.request.ProxyHandler, urllib.request.UnknownHandler, urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler, urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler, urllib.request.HTTPErrorProcessor,
    )  # fmt: skip
    for handler in handlers:
        opener.add_handler(handler())
    return opener


_OPENER = _opener()
