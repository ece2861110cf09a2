"""Kills a verb of the command line at many of its lines, one process per line.

    python kill_points.py POINTS OUTPUT ARGUMENTS...     (the arguments of refquant)

Lines of the files that write are counted in a run that is left alone, from the first one on that
may touch the folder; then, for POINTS of them,
evenly spread: OUTPUT's folder is put back as it was, the verb runs and SIGKILL comes just before
that line, and the verb runs again, to its end. Prints JSON: the files that a run leaves (names and
digests), and per point what OUTPUT is after the kill ("old", "new", "absent", "interim": what the
run that is left alone names so before its end, or "broken"), how many other files are there,
what OUTPUT is after the second run, and all files then.

A verb that writes a folder is given OUTPUT's.
"""

import contextlib
import hashlib
import http.client
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from refquant.cli.main import main

FIRST = ("atomic.py", "download.py", "run_log.py")  # nothing is written before a line of these
WRITERS = (
    *FIRST,
    *(
        "contextlib.py",
        "tempfile.py",
        "pathlib.py",
        "zipfile.py",
        "results_json.py",
    ),
    *(
        "store.py",
        "report.py",
        "sink.py",
        "file.py",
        "npz_export.py",
        "workers.py",
        "evaluate.py",
    ),
)


class Job(NamedTuple):
    """A verb with its arguments, the file that it writes, and what the file was before."""

    arguments: list[str]
    output: Path
    old: bytes | None

    def put_back(self) -> None:
        """The folder as it was."""
        shutil.rmtree(self.output.parent)
        self.output.parent.mkdir()
        if self.old is not None:
            self.output.write_bytes(self.old)

    def files(self) -> dict[str, str | None]:
        """Every file of the folder, by its name there, with its digest."""
        folder = self.output.parent
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): digest(path) for path in paths}

    def state(self, versions: list[str]) -> str:
        """What the output is; `versions` are the digests of what it is to be, the last one new."""
        found = digest(self.output)
        before = None if self.old is None else hashlib.sha256(self.old).hexdigest()
        names = dict.fromkeys(versions, "interim") | {None: "absent", versions[-1]: "new"}
        return (names | ({before: "old"} if before else {})).get(found, "broken")


def digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def child(job: Job, kill_at: int | None) -> tuple[int, list[str]]:
    """Run the verb in a child: the lines that it passed, -1 if it failed, -9 if it was killed,
    and the digests of what it named as the output, in order."""
    out, into = os.pipe()
    number = os.fork()
    if number == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        # A transfer comes in as many parts as the socket likes; whole chunks make runs alike.
        http.client.HTTPResponse.read1 = http.client.HTTPResponse.read
        named = versions_of(job.output)
        passed = traced(job.arguments, kill_at)
        os.write(into, json.dumps([passed, named]).encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out) as stream:
        text = stream.read()
    _, status = os.waitpid(number, 0)
    return (-signal.SIGKILL, []) if os.WIFSIGNALED(status) else json.loads(text)


def versions_of(output: Path) -> list[str]:
    """A list that grows with each file that this process names `output`."""
    versions, replace = [], os.replace

    def noted(source: Any, target: Any) -> None:
        replace(source, target)
        if Path(target) == output:
            versions.append(digest(output))

    os.replace = noted
    return versions


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
        moved = {str(job.output): f"{folder}/{job.output.name}", str(job.output.parent): folder}
        arguments = [moved.get(a, a) for a in job.arguments]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert main(arguments) == 0


def run(points: int, job: Job) -> dict[str, Any]:
    rehearse(job)
    (lines, versions), files = child(job, None), job.files()
    assert lines > points, (lines, versions)
    assert job.state(versions) == "new"
    found = []
    for point in range(points):
        at = 1 + point * (lines - 1) // (points - 1)
        job.put_back()
        killed = child(job, at)[0] == -signal.SIGKILL
        state, others = job.state(versions), len(job.files()) - job.output.exists()
        child(job, None)
        found.append((at, killed, state, others, job.state(versions), job.files()))
    return {"lines": lines, "files": files, "points": found}


if __name__ == "__main__":
    path = Path(sys.argv[2])
    before = path.read_bytes() if path.exists() else None
    print(json.dumps(run(int(sys.argv[1]), Job(sys.argv[3:], path, before))))
