"""Is a file ever half there? Verbs that write, killed at many of their lines; one table.

    python -m bench.security.kills                  40 kill points per verb
    python -m bench.security.kills --points 100     more
    python -m bench.security.kills --write          and the table goes to kills.md
    python -m bench.security.kills --only study     one verb; --write replaces its line alone

SIGKILL comes before lines, evenly spread, of the files that write (kill_points.py of the tests).
Afterwards the output must be the old file, the new one, absent where there was none, or what a run
that is left alone names so on its way ("interim": study's results after each configuration);
"broken" counts anything else. The same command, run again to its end, must give the new one ("not
mended") and leave the same files to the byte as a run that nobody killed ("left behind" counts
anything else). Exit code 1 if one of these three is not 0.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench.pages import table
from bench.project import use_helpers_of_tests

use_helpers_of_tests()
TABLE = Path(__file__).with_suffix(".md")
STATES = ("old", "absent", "interim", "new", "broken")
COLUMNS = ("killed", *STATES, "with other files", "not mended", "left behind")


def rows(points: int, only: str | None) -> list[tuple[str, dict[str, int]]]:
    """(verb, what was counted)."""
    from file_server import serving
    from killed_jobs import jobs, killed, summary

    found = []
    with serving() as server, tempfile.TemporaryDirectory() as folder:
        for verb, (arguments, output, old) in jobs(Path(folder), server).items():
            if only not in (None, verb):
                continue
            report = killed(points, arguments, output, old)
            found.append((verb, summary(report)))
            print(verb, found[-1][1], file=sys.stderr)
    return found


def counts_of(found: list[tuple[str, dict[str, int]]]) -> str:
    lines = [[verb, *(counts[column] for column in COLUMNS)] for verb, counts in found]
    total = [sum(counts[column] for _, counts in found) for column in COLUMNS]
    return table(["verb", *COLUMNS], [*lines, ["all", *total]])


def known_rows() -> list[tuple[str, dict[str, int]]]:
    """The lines of kills.md, the sum left out."""
    text = TABLE.read_text(encoding="utf-8").splitlines()
    header, _, *lines = ([c.strip() for c in s.split("|")[1:-1]] for s in text if s[:1] == "|")
    return [(verb, dict(zip(header[1:], map(int, rest)))) for verb, *rest in lines[:-1]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--only", metavar="VERB")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    found = rows(options.points, options.only)
    print(counts_of(found))
    if options.write:
        found = found if options.only is None else list((dict(known_rows()) | dict(found)).items())
        command = f"`python -m bench.security.kills --points {options.points} --write`"
        text = "Numbers of kill points, and what was there after each: see kills.py."
        TABLE.write_text(f"# Killed writers\n\n{text}\nMade by {command}.\n\n{counts_of(found)}\n")
    bad = ("broken", "not mended", "left behind")
    return int(any(counts[column] for _, counts in found for column in bad))


if __name__ == "__main__":
    sys.exit(main())
