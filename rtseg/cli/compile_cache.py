"""``rtseg-compile --list`` and ``--clear``: what is in the engine cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rtseg.engine.cache import EngineCache
from rtseg.engine.cache_entry import Entry, Here
from rtseg.engine.here import facts_here
from rtseg.errors import InputError, OutputError


def list_cache(name: str | None, *, as_json: bool) -> int:
    """Print the engines of the cache, those of network ``name`` only if given."""
    cache = EngineCache()
    try:
        entries = cache.entries(name)
    except OSError as error:
        raise InputError(
            f"{cache.folder}: cannot read the engine cache: {error.strerror}"
        ) from error
    here = facts_here({e.backend for e in entries if not e.damaged})
    if as_json:
        print(json.dumps([e.as_dict(here) for e in entries], indent=1, ensure_ascii=False))
    elif not entries:
        print(f"{cache.folder}: no engines{f' of {name}' if name else ''}")
    else:
        _print_table(cache.folder, entries, here)
    if name is None and not as_json and (kernels := cache.kernels()):
        size = sum(path.stat().st_size for path in kernels) / 1e6
        print(f"and {size:.1f} MB of kernels that resize and paint on a GPU")
    return 0


def _print_table(folder: Path, entries: list[Entry], here: Here) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("network", "engine"):
        table.add_column(column, no_wrap=True)
    for column in ("MB", "built", "in, s", "parity"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("on this machine", overflow="fold")
    for entry in entries:
        fault = entry.fault(here)
        if fault and fault == here.get(entry.backend):
            fault = "cannot run"  # why is said once, below
        table.add_row(
            Text(entry.name),
            Text(" ".join((entry.backend, entry.precision, entry.shape)).strip() or "?"),
            f"{entry.size / 1e6:.1f}",
            str(entry.facts.get("date", ""))[:10],
            _number(entry, "build_seconds", "{:.1f}"),
            _number(entry, "parity", "{:.2%}"),
            Text(fault or "valid", "yellow" if fault else "green"),
        )
    total = sum(entry.size for entry in entries) / 1e6
    # In a file or a pipe no line is broken.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 1000)
    console.print(table, highlight=False)
    for backend, why in sorted(here.items()):
        if isinstance(why, str):
            console.print(Text(f"{backend} cannot run: {why}"), soft_wrap=True)
    count = f"{len(entries)} engine{'' if len(entries) == 1 else 's'}"
    console.print(Text(f"{count}, {total:.1f} MB, in {folder}"), soft_wrap=True)


def _number(entry: Entry, fact: str, form: str) -> str:
    value = entry.facts.get(fact)
    return form.format(value) if isinstance(value, int | float) else ""


def clear_cache(name: str | None) -> int:
    """Remove the engines of the cache, those of network ``name`` only if given."""
    cache = EngineCache()
    try:
        count, size = cache.clear(name)
    except OSError as error:
        raise OutputError(
            f"{cache.folder}: cannot clear the engine cache: {error.strerror}"
        ) from error
    print(f"{cache.folder}: {count} engine{'' if count == 1 else 's'} removed, {size / 1e6:.1f} MB")
    return 0
