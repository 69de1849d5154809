"""What the commands share: arguments that are checked as they are read, and one-line errors."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import NoReturn

from rtseg import __version__
from rtseg.errors import RtsegError

BACKENDS_HELP = "tensorrt, torch-tensorrt, openvino or onnxruntime (default: the best there is)"
PRECISIONS_HELP = "fp32, fp16, bf16 or int8 (default: the backend's fastest)"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, exit status 2."""

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument("--version", action="version", version=f"rtseg {__version__}")

    def error(self, message: str) -> NoReturn:
        """Print the line and exit."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def size(text: str) -> tuple[int, int]:
    """Read ``512x256`` as (width, height)."""
    match = re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}: give width x height, such as 512x256")
    return int(match[1]), int(match[2])


def whole(lowest: int) -> Callable[[str], int]:
    """Make a reader of whole numbers not below ``lowest``."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = lowest - 1
        if value < lowest:
            raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from {lowest} up")
        return value

    return read


def number(lowest: float, highest: float) -> Callable[[str], float]:
    """Make a reader of numbers between two, both included."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(
                f"{text!r}: give a number from {lowest:g} to {highest:g}"
            )
        return value

    return read


def names(text: str) -> list[str]:
    """Read a list of names with commas between them."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: give one or more names with commas between")
    return found


class _Lines(logging.Handler):
    """Writes warnings to standard error, and what is marked as ``news`` to who uses the command."""

    def __init__(self, prog: str) -> None:
        super().__init__(logging.INFO)
        self._prog = prog

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        warning = record.levelno >= logging.WARNING
        if warning or getattr(record, "news", False):
            text = f"{self._prog}: {'warning: ' if warning else ''}{record.getMessage()}"
            try:
                print(text, file=sys.stderr, flush=True)
            except Exception:
                self.handleError(record)


def _flush() -> None:
    """Write what is left, here and not at the interpreter's end; to nowhere if the reader has gone."""
    try:
        if sys.stdout is not None:  # closed by the shell
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(prog: str, command: Callable[[], int]) -> int:
    """Run a command; returns its exit status, with rtseg's errors and warnings as one line each."""
    log = logging.getLogger("rtseg")
    handler, level = _Lines(prog), log.level
    log.addHandler(handler)
    if log.getEffectiveLevel() > logging.INFO:
        log.setLevel(logging.INFO)
    try:
        status = command()
        _flush()
        return status
    except RtsegError as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:
        _flush()
        return 141  # as who is ended by SIGPIPE
    except KeyboardInterrupt:
        return 130
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
