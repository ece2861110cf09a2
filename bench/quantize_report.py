"""docs/quantization_measured.md from the CSV files that bench/quantize.py writes.

Sentences about the study's claims are conditions on the rows, so they change when the rows do.
Equal stored bits: a piecewise linear scheme of k bits is set beside the others of k + 1, since
that is the width of its codes. All of it on weights alone; AP is the study's business.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

PIECEWISE = ("pwlq", "pwlq:laplacian", "pwlq:search", "pwlq-code")
UNIFORM = ("affine", "affine:mse", "symmetric", "symmetric:mse")
PLAIN = ("layer", "filter", "channel", "f-shape", "c-shape")


def write(grid: Path, combined: Path, speed: Path, target: Path) -> None:
    """The whole page."""
    rows = list(read(grid))
    first = rows[0]
    parts = [
        "# Quantization of trained YOLOv7 weights, measured",
        f"Written by `python bench/quantize.py write` from the CSV files beside it: "
        f"{len(rows)} rows over {first['layers']} convolutions with {first['weights']:,} weights "
        "of a trained full-size YOLOv7, before folding (95 convolutions in all, four of them not "
        "at hand). "
        "SQNR is 10 log10 of the sum of w² over the sum of e², in dB; b/w are the stored bits per "
        "weight, codes and parameters. Every row's errors are within the proven bounds.",
        *equal_bits(rows),
        *granularities(rows),
        *front(rows),
        *combinations(list(read(combined))),
        *all_rows(rows),
        *speeds(list(read(speed))),
    ]
    target.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def read(path: Path) -> Iterable[Row]:
    """Rows with numbers as numbers."""
    with path.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            yield {key: number(value) for key, value in row.items()}


def number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def stored(row: Row) -> float:
    """Stored bits per weight."""
    return 8 * row["packed"] / row["weights"]


def find(rows: Sequence[Row], **wanted: Any) -> Row | None:
    """The row with these values."""
    return next((r for r in rows if all(r[k] == v for k, v in wanted.items())), None)


def table(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    text = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in text)


def best(rows: Sequence[Row], schemes: Sequence[str], granularity: str, width: int) -> Row | None:
    """The row of highest SQNR among schemes whose codes are `width` bits wide."""
    found = [
        r
        for r in rows
        if r["scheme"] in schemes and r["granularity"] == granularity and r["code_bits"] == width
    ]
    return max(found, key=lambda r: r["sqnr_db"], default=None)


def equal_bits(rows: Sequence[Row]) -> list[str]:
    """Does piecewise linear quantization win at equal stored bits?"""
    lines, wins, cells, nominal_wins = [], 0, 0, 0
    for granularity in PLAIN:
        for width in range(3, 9):
            piecewise = best(rows, PIECEWISE, granularity, width)
            uniform = best(rows, UNIFORM, granularity, width)
            lesser = best(rows, UNIFORM, granularity, width - 1)
            if piecewise is None or uniform is None or lesser is None:
                continue
            cells += 1
            wins += piecewise["sqnr_db"] > uniform["sqnr_db"]
            nominal_wins += piecewise["sqnr_db"] > lesser["sqnr_db"]
            gain = piecewise["sqnr_db"] - uniform["sqnr_db"]
            nominal = piecewise["sqnr_db"] - lesser["sqnr_db"]
            lines.append((granularity, width, f"{uniform['scheme']} {uniform['sqnr_db']:.2f}",
                          f"{piecewise['scheme']} {piecewise['sqnr_db']:.2f}", f"{gain:+.2f}",
                          f"{nominal:+.2f}"))  # fmt: skip
    header = ("granularity", "stored bits", "best uniform, dB", "best piecewise linear, dB",
              "gain, equal stored bits", "gain, equal nominal bits")  # fmt: skip
    return [
        "## Does piecewise linear quantization still win at equal stored bits?",
        f"At equal *nominal* bits it wins in {nominal_wins} of {cells} cases, with twice as many "
        f"codes. At equal *stored* bits it wins in {wins} of {cells}. Uniform: the best of "
        f"{', '.join(UNIFORM)}; piecewise linear: the best of {', '.join(PIECEWISE)}, "
        "stored bits being nominal bits plus one.",
        table(header, lines),
    ]


def granularities(rows: Sequence[Row]) -> list[str]:
    """What a finer granularity buys, and what the same bytes buy as wider codes."""
    lines = []
    for scheme in ("affine", "pwlq"):
        base, wider = (find(rows, scheme=scheme, granularity="filter", bits=b) for b in (4, 5))
        assert base is not None and wider is not None
        per_bit = (wider["sqnr_db"] - base["sqnr_db"]) / (stored(wider) - stored(base))
        lines.append((scheme, "filter, 5 bits", wider["groups"], f"{wider['sqnr_db']:.2f}",
                      f"{stored(wider):.3f}", f"{per_bit:.1f}"))  # fmt: skip
        for granularity in dict.fromkeys(r["granularity"] for r in rows):
            row = find(rows, scheme=scheme, granularity=granularity, bits=4)
            if row is None:
                continue
            more = stored(row) - stored(base)
            gain = row["sqnr_db"] - base["sqnr_db"]
            rate = f"{gain / more:.1f}" if more > 1e-4 else "-"
            lines.append((scheme, f"{granularity}, 4 bits", row["groups"], f"{row['sqnr_db']:.2f}",
                          f"{stored(row):.3f}", rate))  # fmt: skip
    header = ("scheme", "", "groups", "SQNR, dB", "b/w", "dB per bit beyond filter level")
    return [
        "## Which granularity is best per byte?",
        "Against filter level with 4 bits. A finer granularity pays where its dB per added bit "
        "exceed those of a wider code (the first line of each scheme).",
        table(header, lines),
    ]


def front(rows: Sequence[Row]) -> list[str]:
    """The ways that no other beats in both bytes and SQNR."""
    lines, highest = [], float("-inf")
    for row in sorted(rows, key=lambda r: (r["packed"], -r["sqnr_db"])):
        if row["sqnr_db"] > highest:
            highest = row["sqnr_db"]
            way = (row["scheme"], row["granularity"], row["bits"], row["code_bits"])
            size = (f"{stored(row):.3f}", f"{16 / stored(row):.2f}")
            lines.append((*way, *size, f"{highest:.2f}"))
    header = ("scheme", "granularity", "bits", "stored bits", "b/w", "than FP16", "SQNR, dB")
    return ["## What no other way beats, in bytes stored and SQNR at once", table(header, lines)]


def combinations(rows: Sequence[Row]) -> list[str]:
    """The three readings, and what they store."""
    lines = [
        (r["scheme"], r["granularity"], f"{r['filter']} / {r['f-shape']} / {r['c-shape']}",
         f"{r['groups']:,}", f"{r['sqnr_db']:.2f}", f"{r['nominal_saving']:.3f}",
         f"{r['packed_saving']:.3f}", f"{r['entropy_saving']:.3f}")
        for r in rows
    ]  # fmt: skip
    header = ("scheme", "granularity", "layers at filter / f-shape / c-shape", "groups",
              "SQNR, dB", "nominal saving", "stored saving", "entropy saving")  # fmt: skip
    sentences = []
    for scheme, published in (("affine", 3.92), ("pwlq", 3.86)):
        reached = [
            r["granularity"].partition(":")[2] or "least error"
            for r in rows
            if r["scheme"] == scheme and abs(r["nominal_saving"] - published) <= 0.005
            and "+" in r["granularity"]
        ]  # fmt: skip
        least = next(
            r for r in rows if r["scheme"] == scheme and r["granularity"].endswith("shape")
        )
        sentences.append(
            f"{scheme}: the study reports {published}; the smallest error per layer gives "
            f"{least['nominal_saving']:.3f}, so it is {'' if 'least error' in reached else 'not '}"
            f"what was reported. Within half a digit of it: {', '.join(reached) or 'none'}."
        )
    return [
        "## Which reading of “combination” gives the study's savings?",
        " ".join(sentences) + " Savings are of the whole network against FP16 (the layers that "
        "are not at hand stay at filter level), SQNR is of the trained layers.",
        table(header, lines),
    ]


def all_rows(rows: Sequence[Row]) -> list[str]:
    """One table per granularity."""
    parts = ["## All rows", "SQNR in dB, and stored bits per weight."]
    widths = sorted({r["bits"] for r in rows})
    for granularity in dict.fromkeys(r["granularity"] for r in rows):
        lines = []
        for scheme in dict.fromkeys(r["scheme"] for r in rows):
            cells = [find(rows, scheme=scheme, granularity=granularity, bits=b) for b in widths]
            text = [f"{c['sqnr_db']:.2f} ({stored(c):.2f})" if c else "" for c in cells]
            lines.append((scheme, *text))
        header = ("scheme", *(f"{b} bits" for b in widths))
        parts += [f"### {granularity}", table(header, lines)]
    return parts


def speeds(rows: Sequence[Row]) -> list[str]:
    """Seconds for the whole network."""
    lines = [
        (
            r["scheme"],
            r["granularity"],
            r["bits"],
            r["threads"],
            r["seconds"],
            r["peak_over_model"],
        )
        for r in rows
    ]
    header = ("scheme", "granularity", "bits", "threads", "seconds", "peak memory / model")
    return [
        "## Speed",
        f"Full-size YOLOv7, 36.9 million weights, {rows[0]['threads']} threads, on a machine that "
        "other work shares: CPU seconds are those of all threads together. Peak memory is that of "
        "the process, model and interpreter included.",
        table(header, lines),
    ]
