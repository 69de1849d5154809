"""Downloads that are cut off, lied about and changed."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from archives import GOOD, files_of, left, tar_of, zip_of

from rtseg.cli.data import main
from rtseg.data import resume
from rtseg.data.fetch import fetch_file, file_name
from rtseg.errors import InputError, OutputError, UsageError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """A server whose faults are set by a test; ``asked`` are the Range headers, None without."""

    content = CONTENT
    etag: str | None = '"1"'
    ranges = True
    drops: list[int]  # bytes after which each of the first replies ends
    statuses: list[int]  # of the first replies
    length: int | None = None  # a lie
    chunked = False
    pause = 0.0
    range_start: int | None = None  # a lie
    asked: list[str | None]
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        status = self.statuses.pop(0) if self.statuses else 200
        if status != 200:
            self.send_response(status)
            self.send_header("Retry-After", "7")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        same = self.headers.get("If-Range") in (None, self.etag)
        if wanted and self.ranges and same:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(self.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(self.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            first = start if self.range_start is None else self.range_start
            total = len(self.content)
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        else:
            self.send_response(200)
        body = self.content[start:]
        if self.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif self.length != -1:
            self.send_header("Content-Length", str(self.length or len(body)))
        if self.etag:
            self.send_header("ETag", self.etag)
        self.end_headers()
        self.close_connection = True
        cut = self.drops.pop(0) if self.drops else len(body)
        if self.chunked:
            self.wfile.write(b"%x\r\n" % len(body) + body[:cut])
            if cut == len(body):
                self.wfile.write(b"\r\n0\r\n\r\n")
            return
        step = 1 << 16
        for at in range(0, cut, step):
            self.wfile.write(body[at : min(at + step, cut)])
            time.sleep(self.pause)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve():
    """Start a server with the given faults; gives its class and the file's address."""
    servers = []

    def start(**faults):
        handler = type("Faulty", (Server,), {"drops": [], "statuses": [], "asked": [], **faults})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # a client that hangs up
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return handler, f"http://127.0.0.1:{server.server_address[1]}/data.bin"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def fetch(tmp_path):
    """Fetch to ``data.bin`` without waiting; the pauses and warnings are its attributes."""

    def call(url, sha256=None, **options):
        call.pauses, call.said = [], []
        return fetch_file(
            url,
            tmp_path / "data.bin",
            sha256,
            sleep=call.pauses.append,
            say=call.said.append,
            **options,
        )

    return call


def test_a_file_is_fetched_and_verified(serve, fetch, tmp_path):
    _, url = serve()
    seen = []
    fetched = fetch(url, DIGEST.upper(), report=lambda done, total: seen.append((done, total)))
    assert fetched.path.read_bytes() == CONTENT
    assert (fetched.size, fetched.sha256, fetched.verified) == (len(CONTENT), DIGEST, True)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert left(tmp_path) == ["data.bin"]


def test_without_a_digest_it_says_that_it_did_not_verify(serve, fetch):
    _, url = serve()
    fetched = fetch(url)
    assert (fetched.sha256, fetched.verified) == (DIGEST, False)


def test_dropped_connections_are_gone_on_with(serve, fetch):
    server, url = serve(drops=[300_000, 200_000])
    assert fetch(url).path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]
    assert len(fetch.said) == 2


def test_a_later_run_goes_on(serve, fetch, tmp_path):
    server, url = serve(drops=[300_000])
    with pytest.raises(InputError, match=r"dropped.*0\.3 MB are kept .*data\.bin\.part.*again"):
        fetch(url, tries=1)
    assert left(tmp_path) == ["data.bin.part", "data.bin.part.json"]
    assert fetch(url).path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]
    assert left(tmp_path) == ["data.bin"]


def test_a_server_without_ranges_starts_anew(serve, fetch):
    server, url = serve(drops=[300_000], ranges=False)
    assert fetch(url, DIGEST).path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


def test_a_changed_file_is_not_glued_to_the_part_of_the_old(serve, fetch):
    server, url = serve(drops=[300_000])
    with pytest.raises(InputError):
        fetch(url, tries=1)
    server.content, server.etag = CONTENT[::-1], '"2"'
    assert fetch(url).path.read_bytes() == CONTENT[::-1]
    assert server.asked == [None, "bytes=300000-"]  # If-Range spares the third request


def test_a_server_that_ignores_if_range_is_found_out_by_its_etag(serve, fetch):
    server, url = serve(drops=[300_000])
    with pytest.raises(InputError):
        fetch(url, tries=1)

    def get(self, parent=server.do_GET):
        del self.headers["If-Range"]
        parent(self)

    server.content, server.etag, server.do_GET = CONTENT[::-1], '"2"', get
    assert fetch(url).path.read_bytes() == CONTENT[::-1]
    assert server.asked == [None, "bytes=300000-", None]


def test_another_range_than_was_asked_for_starts_anew(serve, fetch):
    server, url = serve(drops=[300_000], range_start=299_999)
    assert fetch(url).path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", None]


def test_without_etag_only_a_digest_lets_it_go_on(serve, fetch, tmp_path):
    server, url = serve(drops=[300_000, 300_000], etag=None)
    with pytest.raises(InputError):
        fetch(url, tries=1)
    with pytest.raises(InputError):
        fetch(url, tries=1)
    assert server.asked == [None, None]
    assert fetch(url, DIGEST).path.read_bytes() == CONTENT
    assert server.asked == [None, None, "bytes=300000-"]


def test_a_weak_etag_is_no_ground_to_go_on(serve, fetch):
    server, url = serve(drops=[300_000], etag='W/"1"')
    assert fetch(url).path.read_bytes() == CONTENT
    assert server.asked == [None, None]


def test_the_part_of_another_address_is_not_used(serve, fetch):
    _, url = serve(drops=[300_000])
    with pytest.raises(InputError):
        fetch(url, tries=1)
    other, url = serve(content=CONTENT[::-1])
    assert fetch(url).path.read_bytes() == CONTENT[::-1]
    assert other.asked == [None]


@pytest.mark.parametrize("size", [len(CONTENT) + 1, 5 * len(CONTENT)])
def test_a_part_longer_than_the_file_starts_anew(serve, fetch, tmp_path, size):
    _, url = serve(drops=[300_000])
    with pytest.raises(InputError):
        fetch(url, tries=1)
    (tmp_path / "data.bin.part").write_bytes(b"x" * size)
    assert fetch(url).path.read_bytes() == CONTENT


def test_416_starts_anew(serve, fetch, tmp_path):
    server, url = serve(drops=[300_000], chunked=True)
    with pytest.raises(InputError):
        fetch(url, DIGEST, tries=1)
    (tmp_path / "data.bin.part").write_bytes(b"x" * (len(CONTENT) + 5))
    assert fetch(url, DIGEST).path.read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={len(CONTENT) + 5}-", None]


def test_pauses_grow(serve, fetch):
    _, url = serve(drops=[0] * 9)
    with pytest.raises(InputError, match="dropped, 5 times in a row"):
        fetch(url)
    assert fetch.pauses == [1, 2, 4, 8]


def test_a_server_may_ask_for_a_longer_pause(serve, fetch):
    _, url = serve(statuses=[503, 503])
    assert fetch(url).path.read_bytes() == CONTENT
    assert fetch.pauses == [7, 7]


@pytest.mark.parametrize("status", [403, 404, 204])
def test_a_refusal_is_final(serve, fetch, status, tmp_path):
    server, url = serve(statuses=[status] * 9)
    with pytest.raises(InputError, match=rf"data\.bin: the server replied {status}"):
        fetch(url)
    assert len(server.asked) == 1
    assert not (tmp_path / "data.bin").exists()


def test_a_length_that_is_too_long_is_never_a_whole_file(serve, fetch, tmp_path):
    _, url = serve(length=len(CONTENT) + 10, etag=None)
    with pytest.raises(InputError, match="dropped"):
        fetch(url, DIGEST)
    assert not (tmp_path / "data.bin").exists()


def test_a_length_that_is_too_short_is_found_out_by_the_digest(serve, fetch, tmp_path):
    _, url = serve(length=1000)
    short = hashlib.sha256(CONTENT[:1000]).hexdigest()
    with pytest.raises(InputError, match=rf"its SHA-256 is {short}, not {DIGEST}; .* removed"):
        fetch(url, DIGEST)
    assert left(tmp_path) == []


def test_a_chunked_reply_is_whole_at_its_end_only(serve, fetch):
    server, url = serve(chunked=True, drops=[300_000])
    assert fetch(url).path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]
    assert len(fetch.said) == 1


def test_a_reply_of_unknown_length_is_warned_of(serve, fetch):
    _, url = serve(length=-1)
    assert fetch(url).path.read_bytes() == CONTENT
    assert "nothing tells whether it is whole" in fetch.said[0]


def test_a_silent_server_is_given_up(serve, fetch):
    _, url = serve(pause=0.5)
    with pytest.raises(InputError, match="fell silent"):
        fetch(url, timeout=0.1, tries=1)


def test_nobody_there(fetch):
    with pytest.raises(InputError, match="refused the connection, 2 times"):
        fetch("http://127.0.0.1:9/data.bin", tries=2)
    with pytest.raises(InputError, match="no such server"):
        fetch("http://no-such-host.invalid/data.bin")


def test_a_redirect_does_not_lead_to_this_machines_files(serve, fetch):
    server, url = serve()

    def get(self):
        self.send_response(302)
        self.send_header("Location", "ftp://127.0.0.1/x")
        self.send_header("Content-Length", "0")
        self.end_headers()

    server.do_GET = get
    with pytest.raises(InputError):
        fetch(url, tries=1)


def test_a_full_disk_keeps_the_part(serve, fetch, monkeypatch):
    _, url = serve()
    monkeypatch.setattr(resume.shutil, "disk_usage", lambda _: type("U", (), {"free": 1000}))
    with pytest.raises(OutputError, match=r"0\.0 GB are to come, 0\.0 GB are free"):
        fetch(url)


def test_a_write_that_fails_is_one_line_and_keeps_the_part(serve, fetch, tmp_path):
    limits = pytest.importorskip("resource")
    server, url = serve()
    before = limits.getrlimit(limits.RLIMIT_FSIZE)
    limits.setrlimit(limits.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"data\.bin: cannot write this file: File too large"):
            fetch(url)
    finally:
        limits.setrlimit(limits.RLIMIT_FSIZE, before)
    size = (tmp_path / "data.bin.part").stat().st_size
    assert 0 < size <= 300_000
    assert fetch(url).path.read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={size}-"]


def test_two_at_once_do_not_mix(serve, fetch, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    _, url = serve()
    with (tmp_path / "data.bin.part").open("ab") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another program is fetching"):
            fetch(url)


def test_a_file_that_is_there_is_only_checked(serve, fetch, tmp_path):
    server, url = serve()
    (tmp_path / "data.bin").write_bytes(CONTENT)
    assert fetch(url, DIGEST).verified
    with pytest.raises(InputError, match="not the file that was asked for"):
        fetch(url, "0" * 64)
    with pytest.raises(OutputError, match="exists already"):
        fetch(url)
    assert server.asked == []
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("camvid", "no data set is known here by a name"),
        ("ftp://example.org/x", "https://"),
        ("http:///x", "names no server"),
        ("http://me:secret@example.org/x", "user and password"),
        ("http://example.org:port/x", "not an address"),
        ("file://server/x", "this machine"),
        ("http://127.0.0.1/a b", "not an address"),
        ("http://127.0.0.1/ä", "not an address"),
    ],
)
def test_bad_addresses(fetch, url, why):
    with pytest.raises(UsageError, match=why) as caught:
        fetch(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/a/data.zip?token=1", "data.zip"),
        ("http://h/", "download"),
        ("http://h/..", "download"),
        ("http://h/a%2F..%2F..%2Fetc", "etc"),
        ("http://h/..%5C..%5Cx", "x"),
        ("http://h/%00x", "x"),
    ],
)
def test_file_names_cannot_leave_their_folder(url, name):
    assert file_name(url) == name


def command(*arguments):
    return main(["fetch", *map(str, arguments)])


def archive_bytes(tmp_path, members=GOOD):
    path = zip_of(tmp_path / "made.zip", members)
    content = path.read_bytes()
    path.unlink()
    return content


def test_the_command_fetches_verifies_unpacks(serve, tmp_path, capfd):
    content = archive_bytes(tmp_path)
    digest = hashlib.sha256(content).hexdigest()
    _, url = serve(content=content)
    url = url.replace("data.bin", "made.zip?token=secret")
    assert command(url, "--sha256", digest, "--out", tmp_path / "data") == 0
    out, error = capfd.readouterr()
    assert f"SHA-256 {digest} (verified)" in out
    assert "3 files, 0.1 MB" in out
    assert "secret" not in out + error
    assert left(tmp_path) == ["data"]
    assert command(url, "--sha256", digest, "--out", tmp_path / "data") == 1
    assert "not empty" in capfd.readouterr().err
    assert command(url, "--out", tmp_path / "kept", "--keep") == 0
    assert "not verified: no --sha256" in capfd.readouterr().out
    assert left(tmp_path) == ["data", "kept", "made.zip"]
    # An archive that was there before is used, and left.
    assert command(url, "--sha256", digest, "--out", tmp_path / "third") == 0
    assert left(tmp_path) == ["data", "kept", "made.zip", "third"]


def test_the_wrong_file_is_not_unpacked(serve, tmp_path, capfd):
    _, url = serve(content=archive_bytes(tmp_path))
    assert command(url, "--sha256", "0" * 64, "--out", tmp_path / "data") == 1
    error = capfd.readouterr().err
    assert error.startswith("rtseg-data: error: ")
    assert error.count("\n") == 1
    assert left(tmp_path) == []


def test_files_of_this_machine_are_left_where_they_are(tmp_path, capfd):
    archive = tar_of(tmp_path / "my data.tar.gz", GOOD, "w:gz")
    url = archive.as_uri()
    assert command(url, "--out", tmp_path / "data") == 0
    assert archive.exists()
    assert set(files_of(tmp_path / "data")) == {"a/b.txt", "c.txt", "d/e/f.bin"}
    assert command((tmp_path / "none.zip").as_uri(), "--out", tmp_path / "b") == 1
    assert "none.zip: cannot read this file: No such file" in capfd.readouterr().err
    assert command(tmp_path.as_uri(), "--out", tmp_path / "b") == 1


def test_what_is_no_archive_is_kept_as_it_is(serve, tmp_path, capfd):
    _, url = serve(content=b"<html>log in</html>")
    assert command(url, "--out", tmp_path / "data") == 0
    assert files_of(tmp_path / "data") == {"data.bin": b"<html>log in</html>"}
    assert command(url.replace(".bin", ".zip"), "--out", tmp_path / "data2") == 1
    assert "not the archive that its name promises" in capfd.readouterr().err


def test_a_bad_digest_is_a_usage_error(tmp_path, capfd):
    with pytest.raises(SystemExit) as caught:
        command("http://h/x", "--sha256", "abc", "--out", tmp_path / "o")
    assert caught.value.code == 2
    assert "64 digits" in capfd.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_keeps_the_part_and_the_next_run_goes_on(serve, tmp_path, number, status):
    content = archive_bytes(tmp_path, [("a.bin", os.urandom(1 << 20))])
    server, url = serve(content=content, pause=0.2)
    url = url.replace("data.bin", "made.zip")
    arguments = [
        sys.executable,
        "-m",
        "rtseg.cli.data",
        "fetch",
        url,
        "--out",
        str(tmp_path / "data"),
    ]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    part = tmp_path / "made.zip.part"
    for _ in range(200):
        if part.exists() and part.stat().st_size:
            break
        time.sleep(0.05)
    process.send_signal(number)
    out, error = process.communicate(timeout=20)
    assert process.returncode == status
    assert "is kept: run the same command again" in out
    assert "Traceback" not in error
    size = part.stat().st_size
    assert 0 < size < len(content)
    server.pause = 0
    assert command(url, "--out", tmp_path / "data") == 0
    assert server.asked == [None, f"bytes={size}-"]
    assert left(tmp_path) == ["data"]
