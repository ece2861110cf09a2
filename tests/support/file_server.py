"""A server on this machine that gives one file, as a server should or as a test wants it to."""

import contextlib
import http.server
import re
import threading

DATA = bytes(range(256)) * 1200  # several chunks


class Server(http.server.ThreadingHTTPServer):
    """Serves DATA as its `behaviour` says; `requests` are the headers that came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, str]] = []
        self.behaviour = plain
        self.etag = '"one"'
        self.url = f"http://127.0.0.1:{self.server_port}/yolov7.pt"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.requests.append(dict(self.headers))
        with contextlib.suppress(OSError):
            self.server.behaviour(self, len(self.server.requests))

    def log_message(self, *_) -> None:
        pass

    def answer(self, code: int, **headers: object) -> None:
        self.send_response(code)
        for key, value in headers.items():
            if value is not None:
                self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()


@contextlib.contextmanager
def serving():
    """A server at work in a thread of its own."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def plain(handler, count, most=None, length=None, etag=True):
    """The file, or the rest of it from the byte that was asked for, at most `most` bytes."""
    wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    tag = handler.server.etag if etag else None
    same = handler.headers.get("If-Range", tag) == tag
    start = int(wanted[1]) if wanted and same else 0
    if start >= len(DATA):
        handler.answer(416)
        return
    size = len(DATA) - start if length is None else length
    ranged = {"Content_Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"} if start else {}
    handler.answer(206 if start else 200, Content_Length=size, ETag=tag, **ranged)
    handler.wfile.write(DATA[start : start + (len(DATA) if most is None else most)])
