"""Kills a verb of the command line at many of its lines, one process per line.

    python kill_points.py POINTS OUTPUT ARGUMENTS...     (the arguments of refquant)

Lines of the files that write are counted in a run that is left alone, from the first one on that
may touch the folder; then, for POINTS of them,
evenly spread: OUTPUT's folder is put back as it was, the verb runs and SIGKILL comes just before
that line, and the verb runs again, to its end. Prints JSON, per point what OUTPUT is after the
kill ("old", "new", "absent", "broken"), how many other files are there, what OUTPUT is after the
second run, and the names of all files then.
"""

import contextlib
import hashlib
import io
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from refquant.cli.main import main

FIRST = ("atomic.py", "download.py", "run_log.py")  # nothing is written before a line of these
WRITERS = (
    *FIRST,
    *("contextlib.py", "tempfile.py", "pathlib.py", "zipfile.py", "hdf5.py", "results_json.py"),
    *("golden_sink.py", "golden_file.py", "npz_export.py", "workers.py", "evaluate.py"),
)


class Job(NamedTuple):
    """A verb with its arguments, the file that it writes, and what the file was before."""

    arguments: list[str]
    output: Path
    old: bytes | None

    def put_back(self) -> None:
        """The folder as it was."""
        for path in self.output.parent.iterdir():
            path.unlink()
        if self.old is not None:
            self.output.write_bytes(self.old)

    def state(self, new: str) -> str:
        """What the output is, `new` being the digest of the file that is due."""
        found = digest(self.output)
        before = None if self.old is None else hashlib.sha256(self.old).hexdigest()
        names = {None: "absent", new: "new"} | ({before: "old"} if before else {})
        return names.get(found, "broken")


def digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def child(job: Job, kill_at: int | None) -> int:
    """Run the verb in a child: the lines that it passed, -1 if it failed, -9 if it was killed."""
    out, into = os.pipe()
    number = os.fork()
    if number == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        passed = traced(job.arguments, kill_at)
        os.write(into, str(passed).encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out) as stream:
        text = stream.read()
    _, status = os.waitpid(number, 0)
    return -signal.SIGKILL if os.WIFSIGNALED(status) else int(text)


def traced(arguments: list[str], kill_at: int | None) -> int:
    """Run the verb in this process, and die before the line number `kill_at` of the writers."""
    passed = 0

    def line(frame: Any, event: str, argument: Any) -> Any:
        nonlocal passed
        if os.path.basename(frame.f_code.co_filename) not in (WRITERS if passed else FIRST):
            return None
        passed += event == "line"
        if passed == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return line

    sys.settrace(line)
    code = main(arguments)
    sys.settrace(None)
    return passed if code == 0 else -1


def rehearse(job: Job) -> None:
    """Run the verb here, its output elsewhere, so that all is imported and compiled."""
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = os.path.join(folder, job.output.name)
        arguments = [elsewhere if a == str(job.output) else a for a in job.arguments]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert main(arguments) == 0


def run(points: int, job: Job) -> dict[str, Any]:
    rehearse(job)
    lines = child(job, None)
    new = digest(job.output)
    assert lines > points, (lines, new)
    assert job.state(new) == "new"
    found = []
    for point in range(points):
        at = 1 + point * (lines - 1) // (points - 1)
        job.put_back()
        killed = child(job, at) == -signal.SIGKILL
        state, others = job.state(new), len(os.listdir(job.output.parent)) - job.output.exists()
        child(job, None)
        left = sorted(os.listdir(job.output.parent))
        found.append((at, killed, state, others, job.state(new), left))
    return {"lines": lines, "points": found}


if __name__ == "__main__":
    path = Path(sys.argv[2])
    before = path.read_bytes() if path.exists() else None
    print(json.dumps(run(int(sys.argv[1]), Job(sys.argv[3:], path, before))))
