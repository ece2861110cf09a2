"""Fetching a file over HTTP: resumed after an interruption, believed only when its hash is right.

    TARGET.part           what is there so far; a later run goes on from its end
    TARGET.part.etag      which version of the file that is, in the server's words

A request for the rest says "only if it is still this version" (Range, If-Range); a server that
does not know ranges, or has another version, sends the whole file again. Whatever it says about
lengths, the file must have the size and the SHA-256 that are known, where they are; otherwise
nothing is kept. TARGET appears whole, by a rename. A transfer that ends early or stalls is
continued as long as it gets on.

Redirects are followed over http and https, never from https to http; proxies are those of the
environment (http_proxy, https_proxy, no_proxy).
"""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from refquant.arrays.atomic import atomic_path
from refquant.arrays.errors import BadInput

CHUNK = 2**16
MOST_BYTES = 2**32  # of a file whose size is not known
TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 3  # in a row that bring nothing
AGENT = "refquant"

Advance = Callable[[int, int | None], Any]  # bytes so far, bytes in all or None


class Known(NamedTuple):
    """What is known about a file; None where nothing is."""

    size: int | None = None
    sha256: str | None = None


UNKNOWN = Known()


class Interrupted(Exception):
    """The transfer broke off, for a reason in words; what came is kept."""


class StartOver(Interrupted):
    """The server cannot go on from where the part ends."""


def fetch(
    url: str,
    target: Path,
    known: Known = UNKNOWN,
    *,
    advance: Advance = lambda done, total: None,
    timeout: float = TIMEOUT,
) -> str:
    """Fetch url into target and return its SHA-256. BadInput says what is wrong and what to do."""
    part = target.with_name(target.name + ".part")
    without, furthest = 0, size_of(part)
    while True:
        try:
            transfer(url, part, known, advance, timeout)
            break
        except Interrupted as problem:
            # Not "more than before": what is thrown away and fetched again is no progress.
            without = 0 if size_of(part) > furthest else without + 1
            furthest = max(furthest, size_of(part))
            if without == ATTEMPTS:
                remedy = "run the same command again to go on from there"
                raise BadInput(url, f"{problem}, {size_of(part):,} bytes came", remedy) from None
        except OSError as error:
            raise BadInput(part, f"cannot be written ({error.strerror or error})") from error
    return finish(url, part, target, known)


def size_of(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def transfer(url: str, part: Path, known: Known, advance: Advance, timeout: float) -> None:
    """One request: append what comes to part, until the file is whole. Raises Interrupted."""
    start = size_of(part)
    if known.size is not None and start == known.size:
        return
    try:
        response = open_url(url, headers_for(part, known), timeout)
    except StartOver:
        discard(part)
        raise
    with response:
        if response.status != 206:
            start = 0
            discard(part)  # before the new version's name is kept: never the old bytes with it
        elif start_of(response) != start:
            discard(part)
            raise Interrupted("the server sent another part than it was asked for")
        total = total_of(response, start)
        problem = wrong_offer(response, total, known)
        if problem:
            discard(part)
            raise BadInput(url, problem, "nothing was kept")
        remember_version(part, response)
        most = known.size or total or MOST_BYTES
        append(response, part, start, most, lambda done: advance(done, total))
    if total is not None and size_of(part) < total:
        raise Interrupted("the transfer ended early")


def wrong_offer(response: Any, total: int | None, known: Known) -> str:
    """What is wrong with the file that the server is about to send, in words; "" if nothing is."""
    packed = response.headers.get("Content-Encoding", "identity")
    if packed != "identity":
        return f"the server sends it packed ({packed[:40]}), though it was asked not to"
    if total is not None and known.size is not None and total != known.size:
        return f"the server offers {total:,} bytes, the released file has {known.size:,}"
    if total is not None and total > MOST_BYTES:
        return f"the server offers {total:,} bytes, more than {MOST_BYTES:,}"
    return ""


def headers_for(part: Path, known: Known) -> dict[str, str]:
    """A request for what is missing, if it is known what the whole must be."""
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
    etag = etag_file(part)
    if size_of(part) and (etag.is_file() or known.sha256 is not None):
        headers["Range"] = f"bytes={size_of(part)}-"
        if etag.is_file():
            headers["If-Range"] = etag.read_text(encoding="latin-1")
    return headers


def etag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def remember_version(part: Path, response: Any) -> None:
    """Keep a strong ETag; without one there is nothing to resume by."""
    etag = response.headers.get("ETag", "")
    if etag.startswith('"') and etag.isprintable() and len(etag) < 200:
        with atomic_path(etag_file(part)) as temporary:
            temporary.write_text(etag, encoding="latin-1")
    else:
        etag_file(part).unlink(missing_ok=True)


def discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    etag_file(part).unlink(missing_ok=True)


def start_of(response: Any) -> int | None:
    """The first byte of a part, from "bytes 100-199/200"."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdecimal() and len(first) < 19 else None


def total_of(response: Any, start: int) -> int | None:
    """Bytes of the whole file, as the server says; None where it does not."""
    length = response.headers.get("Content-Length", "")[:30]  # longer ones are absurd as well
    return start + int(length) if length.isdecimal() else None


def append(
    response: Any, part: Path, start: int, most: int, advance: Callable[[int], Any]
) -> None:
    """Write what comes from byte `start` on, at most up to `most` bytes in all."""
    with part.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        stream.truncate()
        done = start
        while True:
            try:
                chunk = response.read1(CHUNK)  # what is there: a stall must not lose it
            except (OSError, http.client.HTTPException) as error:
                raise Interrupted(f"the transfer broke off ({reason(error)})") from error
            if not chunk:
                break
            done += len(chunk)
            if done > most:
                raise BadInput(part, f"more than {most:,} bytes come", "this is another file")
            stream.write(chunk)
            advance(done)
        stream.flush()
        os.fsync(stream.fileno())


def open_url(url: str, headers: dict[str, str], timeout: float) -> Any:
    """The response to a request; raises Interrupted where trying again may help."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        Redirects(),
    ):
        opener.add_handler(handler)
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            raise StartOver("the server has no such part") from error
        if error.code >= 500 or error.code in (408, 429):
            raise Interrupted(f"the server answers {error.code} {error.reason}") from error
        raise BadInput(url, f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"the server cannot be reached ({reason(error)})") from error
    except BadInput:
        raise
    except ValueError as error:  # of urllib: this address, or one that it is redirected to
        remedy = "give http://... or https://..."
        raise BadInput(url, f"is no address ({reason(error)})", remedy) from error


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects over http and https, but not from https to http."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        secure = req.full_url.startswith("https://")
        if not newurl.startswith("https://" if secure else ("http://", "https://")):
            raise BadInput(req.full_url, f"is redirected to {newurl[:80]!r}", "this is refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def reason(error: BaseException) -> str:
    """An error in a few words."""
    inner = getattr(error, "reason", error)
    return str(getattr(inner, "strerror", None) or inner or type(inner).__name__)[:200]


def finish(url: str, part: Path, target: Path, known: Known) -> str:
    """Compare size and hash, and give the file its name."""
    digest = hashlib.sha256()
    with part.open("rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    found = Known(size_of(part), digest.hexdigest())
    for key, due, is_now in zip(("size", "sha256"), known, found, strict=True):
        if due not in (None, is_now):
            discard(part)
            problem = f"what came has {key} {is_now}, the released file {due}"
            raise BadInput(url, problem, "nothing was kept")
    etag_file(part).unlink(missing_ok=True)  # first: a run that is killed here finds its part
    os.replace(part, target)
    return digest.hexdigest()
