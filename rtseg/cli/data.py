"""``rtseg-data``: fetch, check, show and convert datasets."""

from __future__ import annotations

import sys
from typing import Any

from rtseg.cli import data_check, data_convert, data_fetch, data_show
from rtseg.cli.arguments import Parser, run

PROG = "rtseg-data"


def parser() -> Parser:
    """Build the argument parser."""
    p = Parser(PROG, "Fetch, check, look at and convert datasets.")
    commands: Any = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (data_fetch, data_check, data_show, data_convert):
        command.add(commands)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    return run(PROG, lambda: options.run(options))


if __name__ == "__main__":
    sys.exit(main())
