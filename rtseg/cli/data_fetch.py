"""``rtseg-data fetch``: download an archive, check it, unpack it."""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path
from typing import Any

from rtseg.cli.arguments import number
from rtseg.cli.interrupts import Interrupts
from rtseg.errors import InputError, OutputError

_EPILOG = """\
The download can be stopped (Ctrl-C) and gone on with: run the same command again. Nothing is
unpacked before it is whole and its SHA-256 is the one given. Zip and tar archives (plain, gzip,
bzip2, xz) are unpacked, all of one or nothing; any other file is put into the folder as it is.

  rtseg-data fetch https://example.org/drive.zip --sha256 HEX --out data/drive
  rtseg-data fetch file:///media/disk/drive.tar.gz --out data/drive"""

_ARCHIVE = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)


def add(subparsers: Any) -> None:
    """Add the command to those of ``rtseg-data``; its ``run`` is :func:`run`."""
    about = "Download an archive, check it, and unpack it into a folder."
    p = subparsers.add_parser("fetch", help=about, description=about, epilog=_EPILOG)
    p.add_argument("url", metavar="URL", help="its address: https://, http:// or file://")
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to unpack")
    p.add_argument(
        "--sha256", type=_sha256, metavar="HEX", help="of the archive; another one is refused"
    )
    p.add_argument("--keep", action="store_true", help="keep the archive, beside FOLDER")
    p.add_argument(
        "--merge", action="store_true", help="add to a folder that has files; replaces none"
    )
    p.add_argument(
        "--limit",
        type=number(0.001, 1e6),
        metavar="GB",
        help="unpack no more than this (default: 200 times the archive's size, but 1 to 500 GB)",
    )
    p.set_defaults(run=run)


def _sha256(text: str) -> str:
    if re.fullmatch(r"[0-9a-fA-F]{64}", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r}: a SHA-256 has 64 digits from 0 to f")
    return text.lower()


def run(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from rtseg.cli.byte_progress import Bytes
    from rtseg.data.fetch import check_url, fetch_file, file_name, shown
    from rtseg.data.unpack import require_room

    check_url(options.url)
    out: Path = options.out.resolve()
    require_room(out, options.merge)
    name = file_name(options.url)
    path = out.with_name(name if name != out.name else f"{name}.download")
    ours = not path.exists() and not options.url.startswith("file:")
    with Interrupts(own_process=False) as interrupts:
        try:
            with Bytes("fetching") as bar:
                fetched = fetch_file(
                    options.url, path, options.sha256, report=bar.report, say=bar.say
                )
            told = "verified" if fetched.verified else "not verified: no --sha256 was given"
            print(
                f"{shown(options.url)}: {fetched.size / 1e6:.1f} MB, "
                f"SHA-256 {fetched.sha256} ({told})"
            )
            _unpack(fetched.path, name, out, options, remove=ours and not options.keep)
        except KeyboardInterrupt:
            part = path.with_name(f"{path.name}.part")
            if part.exists():
                print(f"{part} is kept: run the same command again to go on")
            return interrupts.status
    return 0


def _unpack(
    archive: Path, name: str, out: Path, options: argparse.Namespace, *, remove: bool
) -> None:
    from rtseg.cli.byte_progress import Bytes
    from rtseg.data.unpack import archive_kind, unpack

    if archive_kind(archive) is None:
        if _ARCHIVE.search(name):
            raise InputError(f"{archive}: not the archive that its name promises")
        _put(archive, out, name, move=remove)
        print(f"{options.out / name}: no archive, kept as it is")
        return
    limit = None if options.limit is None else int(options.limit * 1e9)
    with Bytes("unpacking") as bar:
        unpacked = unpack(archive, out, merge=options.merge, limit=limit, report=bar.report)
    print(f"{options.out}: {unpacked.files} files, {unpacked.size / 1e6:.1f} MB")
    if remove:
        archive.unlink(missing_ok=True)


def _put(path: Path, out: Path, name: str, *, move: bool) -> None:
    from rtseg.atomic import beside

    place = out / name
    try:
        if place.exists():
            raise OutputError(f"{place}: exists already: move it away")
        out.mkdir(parents=True, exist_ok=True)
        if move:
            path.rename(place)
        else:
            shutil.copyfile(path, beside(place))
            beside(place).rename(place)
    except OSError as error:
        raise OutputError(f"{place}: cannot write this file: {error.strerror}") from error
