"""`refquant verify G.h5 OTHER`: is another implementation right, and if not, where and why."""

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refquant.arrays.errors import BadInput, printable
from refquant.cli.common import MODEL_HELP, add_verb, print_json, say, table

if TYPE_CHECKING:
    from refquant.verification.report import NodeRow, Report

EXAMPLE = """
refquant verify G.h5 theirs.npz                  tensors by name, every node given
refquant verify G.h5 theirs.onnx                 run in onnxruntime, every value judged
refquant verify G.h5 dump/ --map names.json      a folder of .npy, names mapped
refquant verify G.h5 theirs.h5 --storage float16 --accumulator float32
refquant verify G.h5 theirs.npz --algorithm any --unfolded --flush
refquant verify G.h5 theirs.npz --only "model.105*" --allow-undecided
refquant verify q.h5 codes.npz --codes yolov7.h5    another quantizer's codes and scales
"""
MOST_TERMS = 12  # products of the first wrong node, unless --all
MOST_DEVIATIONS = 4  # rows by evidence of which all numbers are printed
TYPES = ("float32", "float16", "bfloat16", "tf32", "float32-truncated")


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "verify", "judge another implementation", EXAMPLE)
    parser.add_argument("golden", type=Path, help="a file that refquant golden made")
    parser.add_argument("other", type=Path, help=".npz, .h5, .npy, a folder of .npy, or .onnx")
    parser.add_argument("--model", help=f"if the golden holds none: {MODEL_HELP}")
    parser.add_argument("--map", type=Path, metavar="JSON", help='{"node": "their name", ...}')
    layouts = ("auto", "NCHW", "NHWC", "NAHWE", "NRE", "NER")
    parser.add_argument(
        "--layout", choices=layouts, default="auto",
        help="order of the axes of their maps: NCHW, NHWC, of heads also NAHWE (A anchors of E "
        "entries); of predictions NRE or NER (R rows); default: auto, by the shapes",
    )  # fmt: skip
    parser.add_argument(
        "--only", action="append", metavar="PATTERN", help="judge these nodes only"
    )
    add_declared(parser)
    parser.add_argument(
        "--variants", type=int, default=32, metavar="N",
        help="legitimate variants to run for evidence (default: %(default)s; 0: none)",
    )  # fmt: skip
    parser.add_argument(
        "--codes", metavar="ORIGINAL",
        help="compare codes: GOLDEN is a quantized model, ORIGINAL the model it came from",
    )  # fmt: skip
    parser.add_argument("--no-blame", action="store_true", help="do not look for causes")
    parser.add_argument(
        "--all", action="store_true", help="print consistent nodes too, and all products of a sum"
    )
    parser.add_argument(
        "--allow-undecided", action="store_true", help="exit with 0 when undecided"
    )
    parser.set_defaults(run=run)


def add_declared(parser: argparse.ArgumentParser) -> None:
    """What the other side declares; the hypotheses of every verdict."""
    group = parser.add_argument_group("declared by the other side")
    group.add_argument("--storage", choices=TYPES, default="float32", help="of tensors, weights")
    group.add_argument("--accumulator", choices=TYPES, default="float32", help="of sums")
    group.add_argument(
        "--algorithm", choices=("direct", "any"), default="direct",
        help="any: Winograd and FFT are allowed",
    )  # fmt: skip
    group.add_argument(
        "--unfolded", action="store_true", help="batch norms or branches not folded as ours are"
    )
    group.add_argument("--flush", action="store_true", help="subnormal numbers may become 0")
    group.add_argument(
        "--sigmoid", nargs=2, type=float, metavar=("ABS", "REL"), default=(2.0**-21, 4.0),
        help="error of its sigmoid: absolute, and relative in units of u (default: 2**-21 4)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    if options.codes:
        from refquant.cli.verify_codes import verdict_of_codes

        return exit_code(verdict_of_codes(options), options.allow_undecided)
    if options.variants and options.variants < 32:
        raise BadInput(f"--variants {options.variants}", "fewer than 32 are no evidence: 0 or 32")
    report = report_of(options)
    if options.json:
        print_json(report.as_json())
    else:
        show(report, options.all)
    return exit_code(report.verdict, options.allow_undecided)


def report_of(options: argparse.Namespace) -> "Report":
    """The report on tensors."""
    from refquant.formats.catalogue import load_model
    from refquant.verification.declared import Declared
    from refquant.verification.mapping import read_mapping
    from refquant.verification.verify import verify

    declared = Declared(
        options.storage,
        options.accumulator,
        options.algorithm,
        not options.unfolded,
        options.flush,
        tuple(options.sigmoid),
    )
    return verify(
        options.golden,
        options.other,
        model=load_model(options.model) if options.model else None,
        declared=declared,
        mapping=read_mapping(options.map) if options.map else None,
        layout=options.layout,
        only=options.only or ("*",),
        variants=options.variants,
        blame=not options.no_blame,
    )


def exit_code(verdict: str, allow_undecided: bool) -> int:
    """0 for consistent, and for undecided where that is allowed; else 1."""
    passes = verdict == "consistent" or (verdict == "undecided" and allow_undecided)
    return 0 if passes else 1


def show(report: "Report", every: bool) -> None:
    """Rows that need a look, or all; the first wrong node, the hypotheses, the verdict."""
    show_rows(report, every)
    for row in [row for row in report.rows if row["basis"] == "evidence"][-MOST_DEVIATIONS:]:
        say(f"{row['node']}: {deviation_text(row)}")
    if report.unused:
        some = printable(", ".join(report.unused[:8]))
        say(f"not used: {some}{' ...' * (len(report.unused) > 8)}")
    for row in report.rows:
        if row["node"] == report.first_wrong:
            show_wrong(row, every)
    say("\nunder the hypotheses")
    for key, text in report.hypotheses.items():
        say(f"  {key}  {text}")
    say("\n" + conclusion(report))


def conclusion(report: "Report") -> str:
    """The last line: the verdict with the first wrong node, or with the ground of consistency."""
    if report.first_wrong:
        return f"{report.verdict}: {report.first_wrong}"
    by = f" (by {report.decided_by})" if report.verdict == "consistent" else ""
    return report.verdict + by


def show_rows(report: "Report", every: bool) -> None:
    """The table, and how many rows have which verdict."""
    header = ("node", "verdict", "by", "max abs", "of bound", "SQNR dB", "cause or note")
    rows = [
        (
            row["node"],
            row["verdict"] or "-",
            row["basis"],
            number(row.get("max_abs")),
            number(row.get("excess")),
            number(row.get("sqnr_db")),
            row.get("cause") or row.get("note") or "",
        )
        for row in report.rows
        if every or row["verdict"] not in ("consistent", None) or row["basis"] == "evidence"
    ]
    if rows:
        say(table(rows, header) + "\n")
    count = Counter(counted_as(row) for row in report.rows)
    say(", ".join(f"{n} {verdict}" for verdict, n in sorted(count.items())))


def counted_as(row: "NodeRow") -> str:
    """The words under which a row is counted: consistent by evidence is less than consistent."""
    by_evidence = row["verdict"] == "consistent" and row["decided_by"] == "evidence"
    return "consistent by evidence" if by_evidence else row["verdict"] or "not given"


def deviation_text(row: "NodeRow") -> str:
    """How far a node's tensor is from the golden's: cosine, and elements by float32 steps."""
    cosine = "-" if row["cosine"] is None else f"{row['cosine']:.9f}"
    bins = row["ulps"] or {}
    steps = ", ".join(f"{name}: {count}" for name, count in bins.items() if count)
    return f"cosine to the golden {cosine}, elements by float32 steps {steps}"


def number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else str(value or "-")


def show_wrong(row: "NodeRow", every: bool) -> None:
    """The first wrong node: where, how far, its worst element, the likely cause."""
    say(f"\nfirst wrong: {row['node']} ({row['op']})")
    if "where" in row:
        say(f"  {row['where']['elements']} of {row['where']['of']} elements are wrong")
        for key in ("channels", "rows", "columns"):
            if key in row["where"]:
                say(f"  {key}: {row['where'][key]['count']}, {row['where'][key]['first']} ...")
    if "worst" in row:
        worst = row["worst"]
        say(f"  worst element {worst['index']}: found {worst['found']}")
        say(f"  expected {worst['expected']} +- {worst['bound']:.3g}")
        if "sum" in worst:
            show_sum(worst["sum"], every)
    if row.get("ulps"):
        say(f"  {deviation_text(row)}")
    say(f"  cause: {row.get('cause') or 'unknown'}")
    if row.get("note"):
        say(f"  {row['note']}")
    for line in row.get("picture", ()):
        say(f"  |{line}|")


def show_sum(parts: Mapping[str, Any], every: bool) -> None:
    """The worst element's sum: its largest products, or all."""
    say(f"  = {parts['activation']}({parts['total']:.9g}), {parts['terms']} products and a bias:")
    say(f"    bias {parts['bias']:.9g}, products {parts['products']:.9g}")
    shown = parts["largest"] if every else parts["largest"][:MOST_TERMS]
    for term in shown:
        place = ",".join(map(str, term["c_r_s"]))
        say(f"    c,r,s {place:>10}  {term['x']:.9g} * {term['weight']:.9g}")
    rest = parts["terms"] - len(shown)
    if rest:
        total = parts["products"] - sum(term["x"] * term["weight"] for term in shown)
        say(f"    and {rest} more, together {total:.9g}; --all prints them")
