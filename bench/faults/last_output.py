"""Only the last output is given, as of TensorRT or TFLite: are faults seen and causes named?

    python -m bench.faults.last_output MODEL --photo PHOTO [--size N] [--layers N]

writes last_output.md. The faults of found.py in the folded graph, one at a time, at up to N nodes
per kind; onnxruntime runs it, and the predictions alone are judged, by evidence. Verified first:
without a fault they are not implausible. Per kind the verdicts, and of the implausible ones

    right   the cause that the fault has, or none for a fault between input and decode, which the
            predictions cannot show                                                     (1)
    false   another cause                                                               (2)
    unknown none, though the fault is one of the input or of the decode                 (3)
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from bench.faults.catalogue import FAULTS, FOLDED, Fault
from bench.faults.found import Subject, outputs_of, subjects
from bench.pages import table
from refquant.verification.blame.decode_causes import DECODES
from refquant.verification.blame.far_causes import explained_far
from refquant.verification.blame.input_causes import CHANGES
from refquant.verification.blame.output_causes import OUTPUTS
from refquant.verification.declared import Declared
from refquant.verification.variants import largest_deviation
from refquant.verification.verdict import weigh

TABLE = Path(__file__).with_suffix(".md")
SHOWN = {name for name, _ in (*DECODES, *OUTPUTS, *CHANGES)}
COLUMNS = ("tried", "implausible", "undecided", "consistent", "right", "false", "unknown")


class Judge:
    """Judges the predictions of a subject."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.head = subject, subject.model.head
        self.golden = self.golden_output()
        self.largest = largest_deviation(
            subject.model, subject.x, {self.head.name: self.golden}, Declared()
        )[self.head.name]
        right = outputs_of(subject, subject.graph, [self.head.name])[self.head.name]
        assert self.word(right) != "implausible"

    def golden_output(self) -> np.ndarray:
        from refquant.engine.walk import run

        return run(self.subject.model, self.subject.x)

    def word(self, found: np.ndarray) -> str | None:
        """The verdict on predictions."""
        finite = bool(np.isfinite(found).all())
        k = float(np.nan_to_num(abs(found - self.golden), nan=np.inf).max()) / self.largest
        return weigh(min(k, 1e300), finite, k <= 1).word

    def cause(self, found: np.ndarray) -> str | None:
        s = self.subject
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return explained_far(s.model, s.x, self.head, found, Declared()).get("cause")


def count_kind(judge: Judge, fault: Fault, layers: int) -> Counter[str]:
    """Trials of a kind at up to `layers` nodes, counted."""
    count: Counter[str] = Counter()
    subject = judge.subject
    for i in np.random.default_rng(0).permutation(len(subject.model.nodes)):
        if count["tried"] == layers:
            break
        faulty = onnx.ModelProto()
        faulty.CopyFrom(subject.graph)
        if not fault.change(faulty.graph, subject.tensors[subject.model.nodes[i].name]):
            continue
        try:
            found = outputs_of(subject, faulty, [judge.head.name])[judge.head.name]
        except Exception as error:  # a graph that onnxruntime refuses is no test of ours
            print(f"  {fault.kind}: {error!s:.100}", file=sys.stderr)
            continue
        if found.shape != judge.golden.shape or not (found != judge.golden).any():
            continue
        word = judge.word(found)
        count["tried"] += 1
        count[str(word)] += 1
        if word == "implausible":
            due = fault.cause if fault.cause in SHOWN else None
            cause = judge.cause(found)
            key = "right" if cause == due else "unknown" if cause is None else "false"
            count[key] += 1
            if key != "right":
                print(f"  {fault.kind}: {cause}", file=sys.stderr)
    return count


def lines(judge: Judge, layers: int) -> list[list[object]]:
    """A line per kind, and their sum."""
    found, total = [], Counter[str]()
    for fault in FAULTS:
        if fault.form == FOLDED:
            count = count_kind(judge, fault, layers)
            total += count
            found.append([fault.kind, *(count[c] for c in COLUMNS)])
            print(found[-1], file=sys.stderr)
    return [*found, ["**all**", *(total[c] for c in COLUMNS)]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--photo", required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    options = parser.parse_args()
    judge = Judge(next(iter(subjects(options.model, options.photo, options.size))))
    text = table(["fault", *COLUMNS], lines(judge, options.layers))
    head = (
        "# The last output alone\n\nWritten by `python -m bench.faults.last_output`; see its "
        f"docstring. {Path(options.model).name}, {Path(options.photo).name} of {options.size} "
        f"pixels, input {judge.subject.x.shape}, up to {options.layers} layers per kind.\n\n"
    )
    TABLE.write_text(head + text + "\n")


if __name__ == "__main__":
    main()
