"""Fuzzing guided by coverage: atheris (libFuzzer for Python) keeps what reaches new branches.

    pip install atheris                         Linux; CPython as its wheels have it
    python -m bench.security.fuzz_guided                 a minute per reader
    python -m bench.security.fuzz_guided onnx hdf5 --seconds 3600 --write

The readers, seeds and judgement of fuzz.py (fuzzing.py, fuzz_targets.py in tests/support),
which needs nothing but Python; only what is tried next is chosen otherwise: inputs that reach new
branches of refquant are kept and changed further. The seeds are the corpus: they are made by the
tests' own writers, the same ones each time. Memory counts per execution here: libFuzzer's own
grows. Exit code 1 if a reader failed; its input is kept in the folder that is named.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.project import ROOT, use_helpers_of_tests

use_helpers_of_tests()
TABLE = Path(__file__).with_suffix(".md")
CHILD = (sys.executable, "-m", "bench.security.fuzz_guided")
TITLE = """# Fuzzing the readers, guided by coverage

A line is one process of `python -m bench.security.fuzz_guided READER --seconds SECONDS --write`,
on a core that it shared. Coverage counts edges of refquant's bytecode, as libFuzzer tells them:
after the seeds, and at the end.

| reader | seconds | executions | covered by the seeds | in the end | corpus | failures |
|---|---|---|---|---|---|---|
"""
LINE = re.compile(r"^\| (\w+) \|.*$", re.M)


def child(name: str, seconds: int, folder: Path) -> None:
    """Fuzz one reader in this process, until libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["refquant"]):
        from fuzz_targets import TARGETS
        from fuzzing import Report, execute, peak, watch

        from refquant.arrays.errors import BadInput

        target = next(make for make in TARGETS if make.__name__ == name)()
        path = folder / f"fuzzed{target.suffix}"
        for suffix, content in target.beside.items():
            path.with_suffix(suffix).write_bytes(content)
        for seed in target.seeds:  # what is imported on demand is instrumented too
            path.write_bytes(target.pack(seed))
            try:
                target.read(path)
            except BadInput as error:
                print(error, file=sys.stderr)
    report, seen = Report(name), watch()
    seen.allowed = {str(path), *(str(path.with_suffix(suffix)) for suffix in target.beside)}
    seen.harmless = target.harmless

    def one(data: bytes) -> None:
        packed = target.pack(data)
        path.write_bytes(packed)
        seen.baseline = peak()
        execute(target, path, packed, report, seen)
        if report.failures:
            raise RuntimeError(report.failures[0][0])

    corpus = folder / "corpus"
    corpus.mkdir()
    for seed in target.seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-max_len=65536", "-timeout=60", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", str(corpus)], one)
    atheris.Fuzz()


def fuzz(name: str, seconds: int) -> tuple[str, bool]:
    """A line of the table for a reader, and whether it stood."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    command = [*CHILD, name, "--seconds", str(seconds), "--in", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False
    )
    covered = re.findall(r"(?:INITED|NEW|REDUCE|RELOAD|DONE)\s+cov: (\d+)", done.stderr)
    ended = re.search(r"DONE\s+cov: \d+ ft: \d+ corp: (\d+)", done.stderr)
    runs = re.search(r"Done (\d+) runs", done.stderr)
    stood = done.returncode == 0 and ended is not None and runs is not None
    if not stood:
        print(f"{name}: see {folder}\n{done.stderr[-1500:]}", file=sys.stderr)
    cells = [name, seconds, f"{int(runs[1]):,}" if runs else "-", covered[0] if covered else "-"]
    cells += [covered[-1] if covered else "-", ended[1] if ended else "-", int(not stood)]
    return f"| {' | '.join(map(str, cells))} |", stood


def write(lines: list[str]) -> None:
    """Put the lines into the table, in place of older ones of the same readers."""
    old = TABLE.read_text(encoding="utf-8") if TABLE.exists() else TITLE
    found = {match[1]: match[0] for match in LINE.finditer(old[len(TITLE) :])}
    found |= {LINE.match(line)[1]: line for line in lines}  # type: ignore[index]
    TABLE.write_text(TITLE + "".join(f"{line}\n" for line in found.values()), encoding="utf-8")


def main() -> int:
    from fuzz_targets import TARGETS

    names = [make.__name__ for make in TARGETS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=" | ".join(names))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    unknown = set(options.readers) - set(names)
    if unknown:
        parser.error(f"{sorted(unknown)[0]}: choose {' | '.join(names)}")
    good = True
    for name in options.readers or names:
        line, stood = fuzz(name, options.seconds)
        good = good and stood
        print(line, flush=True)
        if options.write:
            write([line])
    return int(not good)


if __name__ == "__main__":
    if "--in" in sys.argv:
        reader, seconds, folder = sys.argv[1], sys.argv[3], sys.argv[5]
        child(reader, int(seconds), Path(folder))
    sys.exit(main())
