"""False accusations: is a right implementation ever judged wrong?

    python -m bench.verdicts.accused MODEL ... --photos PHOTO ... [--size N]     writes accused.md

Every model runs for the first photo letterboxed to N pixels (the last model for all photos), two
constructed networks (constructed.py) for an image with zeros next to data. Implementations:

    onnxruntime, OpenCV DNN, PyTorch    on 1 and 2 threads (runtimes.py), nothing declared; but
                                        OpenCV flushes subnormal numbers to zero while it runs,
                                        which the constructed image, full of them, brings out
    emulations                          FFT and Winograd convolutions, flush to zero
                                        (other_arithmetic.py), storage in float16 and bfloat16
                                        with float32 sums (variants.py), and batch norms,
                                        branches and implicit layers not folded (the unfolded graph
                                        in onnxruntime): with that arithmetic declared, and without
A line per run: the verdicts of all rows, the largest share of a bound that a row not judged wrong
used (1.000: the one rounding of a sum of two maps can attain its bound), and for runtimes k of
verification/evidence.py for the last output alone, with 32 variants.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.runtimes import has_torch, onnxruntime_outputs, opencv_outputs, torch_outputs, versions
from bench.verdicts.constructed import constructed, striped_image
from bench.verdicts.other_arithmetic import Arrays, emulated, folded_names
from refquant.formats.catalogue import load_model
from refquant.formats.onnx.export import onnx_model
from refquant.graph.graph import INPUT, Model
from refquant.verification.declared import Declared
from refquant.verification.golden.file import open_golden
from refquant.verification.golden.record import record_golden
from refquant.verification.variants import largest_deviation, rounded, variant
from refquant.verification.verify import Report, verify

TABLE = Path(__file__).with_suffix(".md")
RUNTIME, EMULATION = "runtime", "emulation"
HEAD = """
| implementation | declared | verdict | rows | of the bound | k, last output alone |
|---|---|---|---|---|---|"""


class Case(NamedTuple):
    """A network, its unfolded form where there is one, and its image."""

    name: str
    model: Model
    unfolded: Model | None
    image: str | np.ndarray


class Run(NamedTuple):
    """What a right implementation gives, and what it declares."""

    kind: str
    name: str
    arrays: Arrays
    declared: Declared


def cases(models: list[str], photos: list[str]) -> Iterator[Case]:
    """Constructed networks, then the models."""
    for architecture in ("yolov7", "yolov7-tiny"):
        folded, unfolded = constructed(architecture)
        yield Case(f"constructed from {architecture}", folded, unfolded, striped_image())
    for path in models:
        unfolded = load_model(path, fold=False) if path.endswith(".pt") else None
        unfolded = None if unfolded is None or unfolded.folded else unfolded
        for photo in photos if path == models[-1] else photos[:1]:
            yield Case(Path(path).name, load_model(path), unfolded, photo)


def runs(case: Case, x: np.ndarray) -> Iterator[Run]:
    """Every right implementation."""
    model = case.model
    exported = onnx_model(model, x.shape)
    names = [node.name for node in model.nodes]
    for threads in (1, 2):
        suffix = f"{threads} thread{'s' * (threads > 1)}"
        found = onnxruntime_outputs(exported, x, names, threads)
        yield Run(RUNTIME, f"onnxruntime, {suffix}", found, Declared())
        found = opencv_outputs(model, exported, x, threads)
        flush = isinstance(case.image, np.ndarray)
        yield Run(RUNTIME, f"OpenCV DNN, {suffix}", found, Declared(flush=flush))
        if has_torch():
            yield Run(RUNTIME, f"PyTorch, {suffix}", torch_outputs(model, x, threads), Declared())
    for how in ("fft", "winograd2", "winograd4"):
        yield Run(EMULATION, how, emulated(model, x, how), Declared(algorithm="any"))
    yield Run(EMULATION, "flush to zero", emulated(model, x, "flush"), Declared(flush=True))
    for storage in ("float16", "bfloat16"):
        declared = Declared(storage=storage)
        made = variant(model, x, declared, np.random.default_rng(0))
        arrays = {node.name: y for node, y in made}
        arrays[INPUT] = rounded(x, storage)
        yield Run(EMULATION, f"storage {storage}", arrays, declared)
    if case.unfolded is not None:
        graph = onnx_model(case.unfolded, x.shape)
        raw = onnxruntime_outputs(graph, x, [node.name for node in case.unfolded.nodes])
        names = folded_names(model, case.unfolded)
        arrays = {ours: raw[theirs] for ours, theirs in names.items()}
        yield Run(EMULATION, "not folded", arrays, Declared(folded=False))


def line(run: Run, declared: str, report: Report, k: str) -> str:
    """A line of the table."""
    verdicts = Counter(row["verdict"] or "not given" for row in report.rows)
    text = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    shares = [r["excess"] for r in report.rows if r["verdict"] != "wrong" and "excess" in r]
    largest = max((share for share in shares if isinstance(share, float)), default=0)
    return f"| {run.name} | {declared} | {report.verdict} | {text} | {largest:.3f} | {k} |"


class Totals:
    """Rows judged, by kind of run: what the head of the table says."""

    def __init__(self) -> None:
        self.rows: dict[str, Counter[str]] = {}

    def add(self, kind: str, report: Report) -> None:
        verdicts = Counter(row["verdict"] for row in report.rows if row["verdict"] is not None)
        self.rows[kind] = self.rows.get(kind, Counter()) + verdicts

    def text(self) -> str:
        parts = []
        for kind, count in self.rows.items():
            named = [f"{count[v]} {v}" for v in ("wrong", "implausible", "undecided")]
            parts.append(f"* {kind}: {sum(count.values()):,} rows judged, {', '.join(named)}")
        return "\n".join(parts)


def judged(case: Case, folder: Path, size: int, totals: Totals) -> Iterator[str]:
    """The lines of one case."""
    golden, other = folder / "g.h5", folder / "other.npz"
    record_golden(case.model, case.image, golden, size=size)
    last = case.model.head.name
    with open_golden(golden) as opened:
        x, y = opened.output(INPUT), opened.output(last)
    yield f"\n### {case.name}, input {x.shape[2]} x {x.shape[3]}{HEAD}"
    largest = largest_deviation(case.model, x, {last: y}, Declared())[last]
    for run in runs(case, x):
        print(f"{case.name}: {run.name}", file=sys.stderr)
        np.savez(other, **run.arrays)
        report = verify(golden, other, declared=run.declared, blame=False)
        off = abs(run.arrays[last].astype(float) - y).max() / largest
        k = f"{off:.2f}" if run.kind == RUNTIME else ""
        plain = run.declared == Declared()
        totals.add(f"{run.kind}s" + ("" if plain else ", declared"), report)
        yield line(run, "nothing" if plain else "yes", report, k)
        if not plain:
            report = verify(golden, other, blame=False)
            totals.add(f"{run.kind}s, not declared", report)
            yield line(run, "no", report, "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--photos", nargs="+", required=True)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    totals, lines = Totals(), []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(options.models, options.photos):
            for text in judged(case, Path(folder), options.size, totals):
                print(text, flush=True)
                lines.append(text)
    head = (
        "# Right implementations judged\n\nWritten by `python -m bench.verdicts.accused`; see its "
        f"docstring. Photos letterboxed to {options.size} pixels. {versions()}.\n\n"
    )
    TABLE.write_text(head + totals.text() + "\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
