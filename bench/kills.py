"""Is a file ever half there? Verbs that write, killed at many of their lines; one table.

    python bench/kills.py                  40 kill points per verb
    python bench/kills.py --points 100     more
    python bench/kills.py --write          and the table goes to bench/kills.md

SIGKILL comes before lines, evenly spread, of the files that write; tests/kill_points.py says how.
Afterwards the output must be the old file, the new one, or absent where there was none ("broken"
counts anything else), and the same command, run again to its end, must give the new one ("not
mended") and leave nothing beside it ("left behind"). Exit code 1 if one of these three is not 0.
"""

import argparse
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
TABLE = HERE / "kills.md"
STATES = ("old", "absent", "new", "broken")
COLUMNS = ("killed", *STATES, "with other files", "not mended", "left behind")


def rows(points: int) -> list[tuple[str, dict[str, int]]]:
    """(verb, what was counted)."""
    from file_server import Server
    from killed_jobs import jobs, killed, summary

    server, found = Server(), []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        for verb, (arguments, output, old) in jobs(Path(folder), server).items():
            report = killed(points, arguments, output, old)
            found.append((verb, summary(report, output.name)))
            print(verb, found[-1][1], file=sys.stderr)
    server.shutdown()
    return found


def table(found: list[tuple[str, dict[str, int]]]) -> str:
    lines = [["verb", *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    lines += [[verb, *(str(counts[column]) for column in COLUMNS)] for verb, counts in found]
    total = [str(sum(counts[column] for _, counts in found)) for column in COLUMNS]
    return "".join(f"| {' | '.join(line)} |\n" for line in [*lines, ["all", *total]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    found = rows(options.points)
    print(table(found), end="")
    if options.write:
        command = f"`python bench/kills.py --points {options.points} --write`"
        text = "Numbers of kill points, and what was there after each: see bench/kills.py."
        TABLE.write_text(f"# Killed writers\n\n{text}\nMade by {command}.\n\n{table(found)}")
    bad = ("broken", "not mended", "left behind")
    return int(any(counts[column] for _, counts in found for column in bad))


if __name__ == "__main__":
    sys.exit(main())
