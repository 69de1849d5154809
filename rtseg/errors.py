"""What goes wrong in a way that the person at the keyboard can mend, and the exit status for it."""

from __future__ import annotations

import importlib.util


class RtsegError(Exception):
    """One clear line: what is wrong, with what, and what to do. ``status`` is the exit status."""

    status = 1


class UsageError(RtsegError):
    """The command or call was asked for something that does not exist or does not fit (status 2)."""

    status = 2


class InputError(RtsegError):
    """A source, file or folder cannot be read (status 1)."""


class OutputError(RtsegError):
    """Something cannot be written (status 1)."""


class NetworkError(RtsegError):
    """A network file is not one, breaks the contract, or lacks its spec (status 1)."""


class BackendError(RtsegError):
    """A backend is missing or failed to compile or run a network (status 1)."""


def one_line(error: BaseException) -> str:
    """Return another's error message without its line breaks, cut to a line's length."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def require_extra(what: str, extra: str, *modules: str) -> None:
    """Check that the modules of an extra are installed; ``UsageError`` names the one that is not."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise UsageError(f"{what} needs {module}: pip install 'rtseg[{extra}]'")
