"""Fetching, from a server on this machine that truncates, stalls, redirects and lies."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from file_server import DATA, plain, serving
from places import ROOT

from refquant.arrays.errors import BadInput
from refquant.cli import fetch as verb
from refquant.cli.main import main
from refquant.formats import download, official
from refquant.formats.download import UNKNOWN, Interrupted, Known, fetch
from refquant.formats.official import known_files, official_facts, official_name, weights_folder

KNOWN = Known(len(DATA), hashlib.sha256(DATA).hexdigest())
SHORT = 0.3  # seconds without a byte, in these tests


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as made:
        yield made


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_worked_example(server, tmp_path):
    seen = []
    target = tmp_path / "x.pt"
    found = fetch(
        server.url, target, KNOWN, advance=lambda done, total: seen.append((done, total))
    )
    assert target.read_bytes() == DATA
    assert found == KNOWN.sha256
    assert names(tmp_path) == ["x.pt"]
    assert seen[-1] == (len(DATA), len(DATA))
    assert len(server.requests) == 1
    assert "Range" not in server.requests[0]


@pytest.mark.parametrize("known", (KNOWN, Known()))
def test_a_transfer_that_ends_early_is_continued(server, tmp_path, known):
    server.behaviour = lambda handler, count: plain(handler, count, most=100_000)
    fetch(server.url, tmp_path / "x.pt", known)
    assert (tmp_path / "x.pt").read_bytes() == DATA
    ranges = [request.get("Range") for request in server.requests]
    assert ranges == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]
    assert server.requests[1]["If-Range"] == '"one"'


def test_a_transfer_that_never_gets_on_is_given_up_and_kept(server, tmp_path):
    server.behaviour = lambda handler, count: plain(handler, count, most=1000 if count == 1 else 0)
    with pytest.raises(BadInput, match=r"ended early, 1,000 bytes came: run the same command"):
        fetch(server.url, tmp_path / "x.pt", KNOWN)
    assert names(tmp_path) == ["x.pt.part", "x.pt.part.etag"]
    server.behaviour = plain
    fetch(server.url, tmp_path / "x.pt", KNOWN)
    assert server.requests[-1]["Range"] == "bytes=1000-"
    assert (tmp_path / "x.pt").read_bytes() == DATA
    assert names(tmp_path) == ["x.pt"]


def test_a_server_that_stalls_is_asked_again(server, tmp_path):
    def stall(handler, count):
        plain(handler, count, most=50_000 if count == 1 else None)
        if count == 1:
            time.sleep(3 * SHORT)

    server.behaviour = stall
    fetch(server.url, tmp_path / "x.pt", KNOWN, timeout=SHORT)
    assert (tmp_path / "x.pt").read_bytes() == DATA
    assert [request.get("Range") for request in server.requests] == [None, "bytes=50000-"]


def test_another_version_is_fetched_from_the_beginning(server, tmp_path):
    (tmp_path / "x.pt.part").write_bytes(b"of another version")
    (tmp_path / "x.pt.part.etag").write_text('"zero"')
    fetch(server.url, tmp_path / "x.pt")
    assert (tmp_path / "x.pt").read_bytes() == DATA
    assert server.requests[0]["If-Range"] == '"zero"'


def test_without_a_version_only_a_known_hash_allows_to_go_on(server, tmp_path):
    server.behaviour = lambda handler, count: plain(handler, count, most=200_000, etag=False)
    fetch(server.url, tmp_path / "x.pt", KNOWN)
    assert server.requests[1]["Range"] == "bytes=200000-"
    with pytest.raises(BadInput, match="ended early"):
        fetch(server.url, tmp_path / "y.pt")
    assert all("Range" not in request for request in server.requests[2:])


def test_a_part_that_is_whole_needs_no_server(tmp_path):
    (tmp_path / "x.pt.part").write_bytes(DATA)
    fetch("http://127.0.0.1:9/x.pt", tmp_path / "x.pt", KNOWN)
    assert names(tmp_path) == ["x.pt"]


def test_a_part_beyond_the_end_is_thrown_away(server, tmp_path):
    (tmp_path / "x.pt.part").write_bytes(DATA + b"more")
    (tmp_path / "x.pt.part.etag").write_text('"one"')
    fetch(server.url, tmp_path / "x.pt")
    assert (tmp_path / "x.pt").read_bytes() == DATA


def lying(**changes):
    return lambda handler, count: plain(handler, count, **changes)


def endless(handler, count):
    """No length at all, and more than there should be."""
    handler.answer(200)
    handler.wfile.write(DATA + DATA)


def other_part(handler, count):
    if "Range" in handler.headers:
        handler.answer(206, Content_Range="bytes 7-8/9", Content_Length=2)
        handler.wfile.write(b"xx")
    else:
        plain(handler, count, most=1000)


def other_bytes(handler, count):
    handler.answer(200, Content_Length=len(DATA))
    handler.wfile.write(DATA[::-1])


LIES = {
    "a longer length": (lying(length=len(DATA) + 5), r"offers 307,205 bytes, the released file"),
    "a shorter length": (lying(length=1000), r"offers 1,000 bytes, the released file"),
    "no length and too much": (endless, "more than 307,200 bytes come"),
    "other bytes": (other_bytes, f"sha256 .*, the released file {KNOWN.sha256}: nothing was kept"),
    "another part": (other_part, "another part than it was asked for"),
}


@pytest.mark.parametrize(("behaviour", "words"), LIES.values(), ids=LIES.keys())
def test_a_server_that_lies_is_found_out(server, tmp_path, behaviour, words):
    server.behaviour = behaviour
    with pytest.raises(BadInput, match=words) as caught:
        fetch(server.url, tmp_path / "x.pt", KNOWN, timeout=SHORT)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.pt").exists()


@pytest.mark.parametrize("digits", [18, 30, 5000])
def test_an_absurd_length_is_refused_and_no_disk_filled(server, tmp_path, digits):
    server.behaviour = lying(length="9" * digits)
    for known in (KNOWN, UNKNOWN):
        with pytest.raises(BadInput, match=r"offers 9{3}[,9]* bytes, .*: nothing was kept"):
            fetch(server.url, tmp_path / "x.pt", known)
    assert list(tmp_path.iterdir()) == []


def test_a_packed_answer_is_not_taken_for_the_file(server, tmp_path):
    def packed(handler, count):
        handler.answer(200, Content_Length=2, Content_Encoding="gzip")
        handler.wfile.write(b"\x1f\x8b")

    server.behaviour = packed
    with pytest.raises(BadInput, match=r"sends it packed \(gzip\)"):
        fetch(server.url, tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []


def test_redirects_are_followed(server, tmp_path):
    def redirect(handler, count):
        if count < 4:
            handler.answer(302, Location=f"/again{count}")
        else:
            plain(handler, count)

    server.behaviour = redirect
    fetch(server.url, tmp_path / "x.pt", KNOWN)
    assert (tmp_path / "x.pt").read_bytes() == DATA


@pytest.mark.parametrize("place", ("file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x"))
def test_redirects_elsewhere_are_refused(server, tmp_path, place):
    server.behaviour = lambda handler, count: handler.answer(302, Location=place)
    with pytest.raises(BadInput, match=r"is redirected to|answers 302"):
        fetch(server.url, tmp_path / "x.pt", KNOWN)


def test_from_https_to_http_is_refused():
    request = download.urllib.request.Request("https://example.org/x")
    with pytest.raises(BadInput, match=r"is redirected to 'http://example.org/x'"):
        download.Redirects().redirect_request(request, None, 302, "", {}, "http://example.org/x")


def test_endless_redirects_end(server, tmp_path):
    server.behaviour = lambda handler, count: handler.answer(302, Location="/yolov7.pt")
    with pytest.raises(BadInput, match="answers 302"):
        fetch(server.url, tmp_path / "x.pt", KNOWN)
    assert len(server.requests) < 20


def test_what_the_server_refuses_is_told(server, tmp_path):
    server.behaviour = lambda handler, count: handler.answer(404)
    with pytest.raises(BadInput, match="the server answers 404 Not Found"):
        fetch(server.url, tmp_path / "x.pt", KNOWN)
    assert len(server.requests) == 1
    server.behaviour = lambda handler, count: handler.answer(503)
    with pytest.raises(BadInput, match="the server answers 503"):
        fetch(server.url, tmp_path / "x.pt", KNOWN)
    assert len(server.requests) == 1 + download.ATTEMPTS


def test_a_server_that_is_not_there_is_told(tmp_path):
    with pytest.raises(BadInput, match=r"cannot be reached \(Connection refused\)"):
        fetch("http://127.0.0.1:9/x.pt", tmp_path / "x.pt", KNOWN)
    with pytest.raises(BadInput, match="cannot be reached"):
        fetch("file:///etc/hostname", tmp_path / "x.pt")


@pytest.mark.parametrize("url", ["foo/x.pt", "http://[::1/x.pt", "http://127.0.0.1:9/modèle.pt"])
def test_what_is_no_address_is_told_at_once(tmp_path, url):
    with pytest.raises(BadInput, match=r"is no address \(.+\): give http://"):
        fetch(url, tmp_path / "x.pt", KNOWN)
    assert names(tmp_path) == []


def test_a_redirect_to_what_is_no_address_is_told(server, tmp_path):
    server.behaviour = lambda handler, count: handler.answer(302, Location="http://[::1/x")
    with pytest.raises(BadInput, match=r"yolov7\.pt: is no address \(.+\): give http://"):
        fetch(server.url, tmp_path / "x.pt", KNOWN)
    assert len(server.requests) == 1


def test_a_folder_that_is_not_there_is_told(server, tmp_path):
    with pytest.raises(BadInput, match=r"cannot be written \(No such file"):
        fetch(server.url, tmp_path / "no" / "x.pt", KNOWN)


def test_proxies_of_the_environment_are_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "")
    fetch("http://weights.invalid/yolov7.pt", tmp_path / "x.pt", KNOWN)
    assert server.requests[0]["Host"] == "weights.invalid"


def run(capsys, *arguments):
    code = main(["fetch", *map(str, arguments)])
    return code, capsys.readouterr()


def test_the_verb_says_what_it_fetched(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    base = server.url.rsplit("/", 1)[0]
    code, text = run(capsys, "yolov7x", "--from", base + "/", "--json")
    result = json.loads(text.out)
    assert code == 0
    assert (result["output"], result["bytes"]) == ("yolov7x.pt", len(DATA))
    assert (result["sha256"], result["verified"]) == (KNOWN.sha256, False)
    assert "GPL-3.0" in text.err
    code, text = run(capsys, "yolov7x", "--from", base)
    assert (code, text.err) == (
        3,
        "refquant: yolov7x.pt: exists already: remove it, or choose another -o\n",
    )
    code, text = run(capsys, "yolov7-w6", "--from", base)
    assert "it is not verified" in text.out
    code, text = run(capsys, "yolov8")
    assert code == 3
    assert "choose yolov7 |" in text.err


def test_the_verb_knows_the_hashes(server, tmp_path, monkeypatch, capsys):
    code, text = run(
        capsys, "yolov7", "--from", server.url.rsplit("/", 1)[0], "-o", tmp_path / "x"
    )
    assert code == 3
    assert "offers 307,200 bytes, the released file has 75,587,165" in text.err
    assert set(known_files()) == {f"{name}.pt" for name in verb.NAMES[:2]}
    assert official_facts("yolov7x.pt") == (None, None)


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("kill", (signal.SIGINT, signal.SIGKILL))
def test_a_fetch_that_is_killed_goes_on(server, tmp_path, kill):
    stop = threading.Event()

    def slow(handler, count):
        plain(handler, count, most=150_000)
        if count == 1:
            stop.wait(120)

    server.behaviour = slow
    command = [sys.executable, "-m", "refquant", "fetch", "yolov7x", "-o", str(tmp_path / "x.pt")]
    command += ["--from", server.url.rsplit("/", 1)[0]]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while download.size_of(tmp_path / "x.pt.part") < 131_072 and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(kill)
    _, error = first.communicate(timeout=120)
    stop.set()
    assert first.returncode == (130 if kill == signal.SIGINT else -kill), error
    assert names(tmp_path) == ["x.pt.part", "x.pt.part.etag"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.pt").read_bytes() == DATA
    assert names(tmp_path) == ["x.pt"]
    assert int(server.requests[1]["Range"][len("bytes=") : -1]) >= 131_072


def test_bytes_of_an_old_version_never_get_the_name_of_a_new_one(server, tmp_path, monkeypatch):
    """Killed when the new version's name is kept: what is there of the old one must be gone."""
    part = tmp_path / "x.pt.part"
    part.write_bytes(b"old" * 100)
    (tmp_path / "x.pt.part.etag").write_text('"zero"')
    monkeypatch.setattr(download, "append", lambda *_: stop())
    with pytest.raises(KeyboardInterrupt):
        fetch(server.url, tmp_path / "x.pt")
    assert (tmp_path / "x.pt.part.etag").read_text() == '"one"'
    assert not part.exists()


def stop():
    raise KeyboardInterrupt


def test_a_part_that_is_a_folder_is_told(server, tmp_path):
    (tmp_path / "x.pt.part").mkdir()
    with pytest.raises(BadInput, match=r"x\.pt\.part: cannot be written"):
        fetch(server.url, tmp_path / "x.pt")


def test_the_weights_are_found_in_a_checkout_that_is_not_installed(monkeypatch):
    def not_installed(name):
        raise ModuleNotFoundError(name)

    assert weights_folder().samefile(ROOT / "weights")
    monkeypatch.setattr(official, "files", not_installed)
    assert weights_folder() == ROOT / "weights"


def test_official_files_are_known_by_their_hashes():
    _, sha256 = official_facts("yolov7.pt")
    assert official_name(sha256) == "yolov7.pt"
    assert official_name("0" * 64) is None


def test_reasons_are_short():
    assert download.reason(OSError(28, "No space left on device")) == "No space left on device"
    assert isinstance(download.StartOver(""), Interrupted)
