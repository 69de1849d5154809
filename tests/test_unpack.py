"""Archives that would do harm, and those that would not."""

import gzip
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from archives import GOOD, files_of, left, tar_of, zip_of

from rtseg.data.unpack import unpack
from rtseg.errors import InputError, OutputError


def link(target, kind=tarfile.SYMTYPE):
    return {"type": kind, "linkname": target}


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_archives_are_unpacked(tmp_path, kind):
    path = tmp_path / "archive"
    zip_of(path, GOOD) if kind == "zip" else tar_of(path, GOOD, kind)
    seen = []
    found = unpack(path, tmp_path / "out", report=lambda done, total: seen.append(done))
    assert files_of(tmp_path / "out") == {
        "a/b.txt": b"hello",
        "c.txt": b"",
        "d/e/f.bin": GOOD[2][1],
    }
    assert (found.files, found.size) == (3, 100_005)
    assert seen[-1] == found.size
    assert left(tmp_path) == ["archive", "out"]
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "out" / "a").stat().st_mode
    )


def test_links_within_are_kept(tmp_path):
    members = [
        ("a/real.txt", b"x"),
        ("b/soft", link("../a/real.txt")),
        ("hard", link("a/real.txt", tarfile.LNKTYPE)),
        ("folder", link("a")),
    ]
    unpack(tar_of(tmp_path / "t.tar", members), tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "b/soft").readlink() == Path("../a/real.txt")
    assert {(out / f).read_bytes() for f in ("b/soft", "hard", "folder/real.txt")} == {b"x"}
    archive = zip_of(
        tmp_path / "z.zip",
        [("a.txt", b"y"), ("l", (b"a.txt", stat.S_IFLNK | 0o777))],
    )
    unpack(archive, tmp_path / "out2")
    assert (tmp_path / "out2" / "l").readlink() == Path("a.txt")


HARMFUL_TARS = {
    "parent": ([("../evil", b"x")], "evil"),
    "deep parent": ([("a/../../evil", b"x")], "evil"),
    "absolute": ([("/tmp/rtseg-evil", b"x")], "evil"),
    "backslash": ([("..\\evil", b"x")], "evil"),
    "drive": ([("C:\\evil", b"x")], "evil"),
    "parent folder": ([("../evil", {"type": tarfile.DIRTYPE})], "evil"),
    "soft link out": ([("evil", link("../x"))], "evil"),
    "soft link absolute": ([("evil", link("/etc/passwd"))], "evil"),
    "soft link to itself's parent": ([("a/evil", link("../.."))], "evil"),
    "write through link": ([("evil", link(".")), ("evil/x", b"x")], "evil"),
    "link through link": ([("a", link(".")), ("evil", link("a/.."))], "evil"),
    "link chain": (
        [("d/e/x", b""), ("a", link("d/e")), ("evil", link("a/../../.."))],
        "evil",
    ),
    "hard link out": ([("evil", link("../secret", tarfile.LNKTYPE))], "evil"),
    "hard link absolute": ([("evil", link("/etc/passwd", tarfile.LNKTYPE))], "evil"),
    "hard link to a link": (
        [("a", link("b")), ("evil", link("a", tarfile.LNKTYPE))],
        "evil",
    ),
    "device": ([("evil", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})], "evil"),
    "fifo": ([("evil", {"type": tarfile.FIFOTYPE})], "evil"),
    "twice": ([("evil", b"1"), ("evil", b"2")], "evil"),
    "file as folder": ([("a", b"1"), ("a/evil", b"2")], "evil"),
    "terminal": ([("../\x1b[31mevil\nline", b"x")], r"\\x1b\[31mevil\\nline"),
}


@pytest.mark.parametrize("name", HARMFUL_TARS)
def test_harmful_tars_are_refused_and_leave_nothing(tmp_path, name):
    members, named = HARMFUL_TARS[name]
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    archive = tar_of(tmp_path / "t.tar", [("good", b"x"), *members])
    with pytest.raises(InputError, match=named) as caught:
        unpack(archive, home / "out")
    assert "\n" not in str(caught.value)
    assert left(home) == []
    assert left(tmp_path) == ["home", "secret", "t.tar"]


@pytest.mark.parametrize(
    "member",
    [
        ("../evil", b"x"),
        ("/evil", b"x"),
        ("a\\..\\..\\evil", b"x"),
        ("evil", (b"../x", stat.S_IFLNK | 0o777)),
        ("evil", (b"/etc/passwd", stat.S_IFLNK | 0o777)),
        ("evil", (b"", stat.S_IFCHR | 0o666)),
    ],
)
def test_harmful_zips_are_refused_and_leave_nothing(tmp_path, member):
    archive = zip_of(tmp_path / "z.zip", [("good", b"x"), member])
    with pytest.raises(InputError, match="evil"):
        unpack(archive, tmp_path / "out")
    assert left(tmp_path) == ["z.zip"]


def test_an_encrypted_zip_is_refused(tmp_path):
    archive = zip_of(tmp_path / "z.zip", [("a", b"x")])
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(InputError, match="'a' is encrypted"):
        unpack(archive, tmp_path / "out")


def test_bombs_are_refused(tmp_path):
    zeros = bytes(1 << 20)
    archives = [
        zip_of(tmp_path / "b.zip", [(f"{i}", zeros) for i in range(3)]),
        tar_of(tmp_path / "b.tgz", [(f"{i}", zeros) for i in range(3)], "w:gz"),
    ]
    for archive in archives:
        with pytest.raises(InputError, match=r"more than 0\.0 GB: give --limit"):
            unpack(archive, tmp_path / "out", limit=5 << 19)
        assert not (tmp_path / "out").exists()
        assert unpack(archive, tmp_path / archive.stem, limit=3 << 20, merge=True).files == 3
        for file in (tmp_path / "b").iterdir():
            file.unlink()


def test_a_bomb_is_refused_by_its_ratio(tmp_path, monkeypatch):
    monkeypatch.setattr("rtseg.data.unpack._SMALL", 1 << 20)
    archive = tar_of(tmp_path / "b.tgz", [("zeros", bytes(8 << 20))], "w:gz")
    assert archive.stat().st_size * 200 < 8 << 20
    with pytest.raises(InputError, match="give --limit"):
        unpack(archive, tmp_path / "out")


def test_a_zip_that_lies_about_its_sizes_is_bounded(tmp_path):
    archive = zip_of(tmp_path / "z.zip", [("a", bytes(1 << 20))])
    content = archive.read_bytes().replace((1 << 20).to_bytes(4, "little"), b"\x05\0\0\0")
    archive.write_bytes(content)
    with pytest.raises(InputError):
        unpack(archive, tmp_path / "out", limit=1000)
    assert left(tmp_path) == ["z.zip"]


def test_a_tar_header_that_would_fill_the_memory_is_refused(tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    with gzip.open(tmp_path / "b.tgz", "wb") as file:
        file.write(header.tobuf())
        file.write(bytes(1 << 20))
    with pytest.raises(InputError, match="a header of absurd size"):
        unpack(tmp_path / "b.tgz", tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_every_cut_is_found_and_leaves_nothing(tmp_path, kind):
    path = tmp_path / "archive"
    members = [(f"{i}", os.urandom(3000)) for i in range(5)]
    zip_of(path, members) if kind == "zip" else tar_of(path, members, kind)
    content = path.read_bytes()
    for share in (0.02, 0.2, 0.5, 0.8):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match="archive"):
            unpack(path, tmp_path / "out")
        assert left(tmp_path) == ["archive"]


def test_a_broken_checksum_is_found(tmp_path):
    path = zip_of(tmp_path / "z.zip", [("a", b"hello")])
    crc = zipfile.crc32(b"hello").to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(crc, b"abcd"))
    with pytest.raises(InputError, match="broken or cut short"):
        unpack(path, tmp_path / "out")


def test_a_full_folder_is_refused_or_added_to(tmp_path):
    archive = zip_of(tmp_path / "z.zip", GOOD)
    out = tmp_path / "out"
    out.mkdir()
    unpack(archive, out)  # an empty one is no matter
    with pytest.raises(OutputError, match="not empty"):
        unpack(archive, out)
    other = zip_of(tmp_path / "other.zip", [("a/new.txt", b"new"), ("n/x", b"")])
    unpack(other, out, merge=True)
    assert set(files_of(out)) == {"a/b.txt", "c.txt", "d/e/f.bin", "a/new.txt", "n/x"}
    (out / "n/x").unlink()
    with pytest.raises(OutputError, match=r"new\.txt: exists already"):
        unpack(other, out, merge=True)
    assert not (out / "n/x").exists()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="in the way"):
        unpack(archive, tmp_path / "file")


def test_what_a_killed_run_left_is_named(tmp_path):
    archive = zip_of(tmp_path / "z.zip", GOOD)
    (tmp_path / "out.partial").mkdir()
    with pytest.raises(OutputError, match=r"out\.partial: left by a run that was cut off"):
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out.partial").is_dir()


def test_a_member_that_cannot_be_written_is_named(tmp_path):
    limits = pytest.importorskip("resource")
    archive = zip_of(tmp_path / "z.zip", [("large", os.urandom(100_000))])
    before = limits.getrlimit(limits.RLIMIT_FSIZE)
    limits.setrlimit(limits.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot write its member 'large': File too large"):
            unpack(archive, tmp_path / "out")
    finally:
        limits.setrlimit(limits.RLIMIT_FSIZE, before)
    assert left(tmp_path) == ["z.zip"]


def test_a_folder_that_cannot_be_written(tmp_path):
    archive = zip_of(tmp_path / "z.zip", GOOD)
    with pytest.raises(OutputError, match="cannot write"):
        unpack(archive, tmp_path / "z.zip" / "out")
