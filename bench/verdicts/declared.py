"""Is a verdict sound under every declaration? Each 3x3 layer, faults and right ones, judged alone.

    python -m bench.verdicts.declared MODEL ... --photo PHOTO [--size N]     writes declared.md

Every convolution of 3x3 of each model gets its inputs from a forward pass, and outputs are made:

    wrong   the eight of FAULTS, computed in float32; one that changes nothing beyond the bound of
            plain float32 sums is no fault and left out
    small   1 % of noise on the weights, counted apart: narrow numbers round as much
    right   direct sums, Winograd F(2,3) and F(4,3), FFT (other_arithmetic.py), ncnn's convolution
            with Winograd where it is installed, sums in float16 and bfloat16 with all of them
            rounded, numbers stored in either

Each is judged under every declaration of DECLARED (a right one under those that allow its
arithmetic, or more), with evidence. Counted: wrong answers that are consistent, right ones that
are wrong or implausible, and pairs of declarations of which the wider gives a graver verdict.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.pages import table
from bench.project import use_helpers_of_tests
from bench.runtimes import versions
from bench.verdicts.ncnn import ncnn_convolution
from bench.verdicts.other_arithmetic import convolved
from refquant.engine.walk import run_node, walk
from refquant.formats.catalogue import load_model
from refquant.graph.graph import INPUT, Model, Node, array_of
from refquant.ops.activation import ACTIVATIONS
from refquant.ops.conv import pad, windows
from refquant.verification.bounds import enclose
from refquant.verification.declared import PLAIN, Declared
from refquant.verification.enclosed import Enclosed, given
from refquant.verification.golden.record import source_of
from refquant.verification.node_verdict import verdict_of
from refquant.verification.variants import rounded

use_helpers_of_tests()
from declarations import DECLARED, RANK, narrower  # noqa: E402

TABLE = Path(__file__).with_suffix(".md")
Array = np.ndarray


class Layer(NamedTuple):
    """A convolution: its node, its input (1, C, H, W), and what is right in real numbers."""

    node: Node
    x: Array
    plain: Enclosed


def layers_of(model: Model, x: Array) -> Iterator[Layer]:
    """Every convolution of 3x3."""
    outputs = {INPUT: x}
    for node, y in walk(model, x):
        if node.op == "conv" and node.arrays["weight"].shape[2:] == (3, 3):
            given_x = outputs[node.inputs[0]]
            yield Layer(node, given_x, enclose(node, [given(given_x)], PLAIN))
        outputs[node.name] = y


def with_weight(change: Callable[[Array], Array]) -> Callable[[Layer], Array]:
    return lambda layer: computed(layer, change(weight_of(layer)))


def weight_of(layer: Layer) -> Array:
    return np.array(array_of(layer.node.arrays["weight"]), np.float32)


def computed(layer: Layer, weight: Array, bias: bool = True, mode: str = "constant") -> Array:
    """Direct sums by NumPy, in float32."""
    a = layer.node.attributes
    sides = [(0, 0), (0, 0), *[(a["padding"], a["padding"])] * 2]
    view = windows(np.pad(layer.x, sides, mode=mode), (3, 3), a["stride"])
    z = np.tensordot(view, weight, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    if bias:
        z = z + array_of(layer.node.arrays["bias"]).astype(np.float32)[:, None, None]
    return ACTIVATIONS[a["activation"]].ref(np.ascontiguousarray(z, np.float32))


def zero_filter(w: Array) -> Array:
    """The filter in the middle set to zero."""
    return np.where(np.arange(len(w))[:, None, None, None] == len(w) // 2, np.float32(0), w)


def without_channel(w: Array) -> Array:
    return np.where(np.arange(w.shape[1])[:, None, None] == w.shape[1] // 2, np.float32(0), w)


def exchanged(w: Array) -> Array:
    """The first two filters exchanged."""
    return w[[1, 0, *range(2, len(w))]]


def without_corner(w: Array) -> Array:
    w = w.copy()
    w[:, :, 0, 0] = 0
    return w


def noisy(w: Array) -> Array:
    noise = np.random.default_rng(0).standard_normal(w.shape)
    return (w * (1 + 0.01 * noise)).astype(np.float32)


FAULTS: Mapping[str, Callable[[Layer], Array]] = {
    "kernel transposed": with_weight(lambda w: w.swapaxes(2, 3)),
    "kernel rotated": with_weight(lambda w: w[:, :, ::-1, ::-1]),
    "a filter of zeros": with_weight(zero_filter),
    "an input channel left out": with_weight(without_channel),
    "two filters exchanged": with_weight(exchanged),
    "bias missing": lambda layer: computed(layer, weight_of(layer), bias=False),
    "border repeated": lambda layer: computed(layer, weight_of(layer), mode="edge"),
    "a corner of the kernel left out": with_weight(without_corner),
}
SMALL: Mapping[str, Callable[[Layer], Array]] = {"1 % of noise on the weights": with_weight(noisy)}


def narrow_sums(layer: Layer, kind: str) -> Array:
    """Products of 16 channels added up in float32, as tensor cores do, these sums in `kind`."""
    a, w = layer.node.attributes, weight_of(layer)
    view = windows(pad(layer.x, a["padding"]), (3, 3), a["stride"])
    total = rounded(array_of(layer.node.arrays["bias"]).astype(np.float32), kind)[:, None, None]
    for r in range(3):
        for s in range(3):
            for c in range(0, w.shape[1], 16):
                part = np.tensordot(
                    view[:, c : c + 16, :, :, r, s], w[:, c : c + 16, r, s], (1, 1)
                )
                total = rounded(total + part.transpose(0, 3, 1, 2), kind)
    return rounded(ACTIVATIONS[a["activation"]].ref(total), kind)


def stored(layer: Layer, kind: str) -> Array:
    """Weights, bias and output in `kind`; sums in float32."""
    weight = rounded(weight_of(layer), kind)
    return rounded(computed(layer, weight), kind)


def rights(layer: Layer) -> Iterator[tuple[str, Declared, Array | None]]:
    """Name, the arithmetic that it is, and the output."""
    yield "direct sums", Declared(), computed(layer, weight_of(layer))
    yield "refquant", Declared(), run_node(layer.node, [layer.x])
    for how in ("winograd2", "winograd4", "fft"):
        yield how, Declared(algorithm="any"), convolved(layer.node, layer.x, how)
    yield "ncnn", Declared(algorithm="any"), ncnn_convolution(layer.node, layer.x)
    for kind in ("float16", "bfloat16"):
        yield f"{kind} stored", Declared(storage=kind), stored(layer, kind)
        both = Declared(storage=kind, accumulator=kind)
        yield f"{kind} sums", both, narrow_sums(layer, kind)


class Counts:
    """By declaration: verdicts of wrong and right answers by name; and what is not monotone."""

    def __init__(self) -> None:
        self.wrong: dict[str, Counter[str]] = {name: Counter() for name in DECLARED}
        self.small: dict[str, Counter[str]] = {name: Counter() for name in DECLARED}
        self.right: dict[tuple[str, str], Counter[str]] = {}
        self.missed: Counter[tuple[str, str]] = Counter()
        self.pairs, self.graver = 0, 0

    def judge(self, layer: Layer, found: Array, own: Declared | None, kind: str) -> None:
        """An output under every declaration; own is what a right one is, None for a wrong one."""
        words = {}
        for name, declared in DECLARED.items():
            verdict = verdict_of(layer.node, [given(layer.x)], found, declared)
            words[name] = str(verdict.word)
            if kind in SMALL:
                self.small[name][words[name]] += 1
            elif own is None:
                self.wrong[name][words[name]] += 1
                self.missed[kind, name] += words[name] == "consistent"
            elif narrower(own, declared):
                self.right.setdefault((kind, name), Counter())[words[name]] += 1
                if RANK[words[name]]:
                    print(
                        f"  {kind} declared {name} at {layer.node.name}: {verdict}",
                        file=sys.stderr,
                    )
        for a, b in permutations(DECLARED, 2):
            if narrower(DECLARED[a], DECLARED[b]):
                self.pairs += 1
                self.graver += RANK[words[b]] > RANK[words[a]]
                if RANK[words[b]] > RANK[words[a]]:
                    print(f"  {kind} {a}: {words[a]}, {b}: {words[b]}", file=sys.stderr)


def count_model(model: Model, x: Array, counts: Counts) -> None:
    """Every layer of a model."""
    for layer in layers_of(model, x):
        print(layer.node.name, layer.node.arrays["weight"].shape, file=sys.stderr)
        for kind, fault in {**FAULTS, **SMALL}.items():
            found = fault(layer)
            if (abs(found - layer.plain.value) > layer.plain.bound).any():
                counts.judge(layer, found, None, kind)
        for kind, own, found in rights(layer):
            if found is not None:
                counts.judge(layer, found, own, kind)


WORDS = ("wrong", "implausible", "undecided", "consistent")


def words_table(counts: Mapping[str, Counter[str]]) -> str:
    """Verdicts by declaration."""
    return table(["declared", *WORDS], [[n, *(c[w] for w in WORDS)] for n, c in counts.items()])


def page(counts: Counts) -> Iterator[str]:
    """The tables."""
    yield "\n## Wrong answers\n"
    yield table(
        ["declared", *WORDS], [[n, *(c[w] for w in WORDS)] for n, c in counts.wrong.items()]
    )
    missed = [[kind, name, n] for (kind, name), n in counts.missed.items() if n]
    yield "\nConsistent although wrong: " + ("" if missed else "none.")
    if missed:
        yield "\n" + table(["fault", "declared", "count"], missed) + "\n"
    yield "\n## A small error: 1 % of noise on the weights\n"
    yield words_table(counts.small)
    yield "\n## Right answers, under the declarations that allow them\n"
    yield table(["answer", "declared", *WORDS], right_lines(counts.right))
    yield (
        f"\n## Monotone\n\n{counts.pairs:,} pairs of verdicts on one answer, the second under a "
        f"wider declaration: graver in {counts.graver}."
    )


def right_lines(right: Mapping[tuple[str, str], Counter[str]]) -> Iterator[list[object]]:
    """A line per answer and declaration where some are not consistent; the rest of an answer's
    declarations together."""
    for kind in dict.fromkeys(kind for kind, _ in right):
        own = {name: count for (k, name), count in right.items() if k == kind}
        good = [name for name, count in own.items() if set(count) == {"consistent"}]
        if good:
            total = sum(own[name].total() for name in good)
            names = good[0] if len(good) == 1 else f"{len(good)} ways"
            yield [kind, names, 0, 0, 0, total]
        for name, count in own.items():
            if name not in good:
                yield [kind, name, *(count[w] for w in WORDS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--photo", required=True)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    counts = Counts()
    for path in options.models:
        model = load_model(path)
        count_model(model, source_of(model, options.photo, options.size).x, counts)
    names = ", ".join(Path(path).name for path in options.models)
    head = (
        "# Verdicts under every declaration\n\nWritten by `python -m bench.verdicts.declared`; "
        f"see its docstring. All 3x3 layers of {names}, {Path(options.photo).name} letterboxed to "
        f"{options.size} pixels. {versions()}.\n"
    )
    TABLE.write_text(head + "\n".join(page(counts)) + "\n")


if __name__ == "__main__":
    main()
