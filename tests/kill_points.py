"""Kills a verb of the command line at many of its lines, one process per line.

    python kill_points.py POINTS FOLDER OUTPUT ARGUMENTS...     (the arguments of refquant)

Lines of the files that write are counted in a run that is left alone; then the verb runs again for
POINTS of them, evenly spread, and SIGKILL comes just before each. Prints JSON: per point the lines
passed, the SHA-256 of OUTPUT (null where it is not there), and the names of all files in FOLDER.
"""

import contextlib
import hashlib
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from refquant.cli.main import main

WRITERS = ("atomic.py", "hdf5.py", "contextlib.py", "tempfile.py", "pathlib.py")


def counted(arguments: list[str], kill_at: int | None) -> int:
    """Run the verb in a child; the lines it passed, or -9 if it was killed."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        passed = 0

        def line(frame: Any, event: str, argument: Any) -> Any:
            nonlocal passed
            if os.path.basename(frame.f_code.co_filename) not in WRITERS:
                return None
            passed += event == "line"
            if passed == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return line

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.settrace(line)
        code = main(arguments)
        sys.settrace(None)
        os.write(into, str(passed if code == 0 else 0).encode())
        os._exit(code)
    os.close(into)
    with os.fdopen(out) as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    return -signal.SIGKILL if os.WIFSIGNALED(status) else int(text)


def digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def run(points: int, folder: Path, output: Path, arguments: list[str]) -> dict[str, Any]:
    before = digest(output)
    with contextlib.redirect_stdout(io.StringIO()):
        main([str(folder) if a == str(output) else a for a in arguments])  # fails, but imports
    lines = counted(arguments, None)
    whole = digest(output)
    found = []
    for point in range(points):
        at = 1 + point * lines // points
        killed = counted(arguments, at)
        found.append((at, killed, digest(output), sorted(os.listdir(folder))))
    last = counted(arguments, None)
    names = sorted(os.listdir(folder))
    return {"before": before, "whole": whole, "points": found, "last": last, "names": names}


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])))
