"""docs/quantization_measured.md from the CSV files that the benches of quantization write.

Sentences are conditions on the rows, so they change when the rows do.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from bench.pages import table
from bench.quantize.claims import combinations, equal_bits, granularities
from bench.quantize.tables import Row, find, read, stored

SEARCHES = (":search", ":mse", "lloyd-max")
QUIET = 2.5  # the bench's own two threads, and a little


def write(files: Mapping[str, Path], target: Path) -> None:
    """The whole page, from the files "grid", "combined", "photos" and "speed"."""
    rows = list(read(files["grid"]))
    first = rows[0]
    missing = missing_of(rows)
    parts = [
        "# Quantization of trained YOLOv7 weights, measured",
        f"Written by `python -m bench.quantize.weights write` from the CSV files beside it: "
        f"{len(rows)} rows over {first['layers']} convolutions with {first['weights']:,} weights "
        "of a trained full-size YOLOv7, before folding (95 convolutions in all, four of them not "
        "at hand). "
        "SQNR is 10 log10 of the sum of w² over the sum of e², in dB; b/w are the stored bits per "
        "weight, codes and parameters. Every row's errors are within the proven bounds. "
        f"{'Not measured: ' + missing + '.' if missing else 'No row of the grid is missing.'}",
        *equal_bits(rows),
        *granularities(rows),
        *front(rows),
        *combinations(list(read(files["combined"]))),
        *photos(list(read(files["photos"]))),
        *all_rows(rows),
        *speeds(list(read(files["speed"]))),
    ]
    target.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def missing_of(rows: Sequence[Row]) -> str:
    """The ways that have no row, of all schemes, granularities and widths that occur."""
    keys = ("scheme", "granularity", "bits")
    names = [dict.fromkeys(row[key] for row in rows) for key in keys]
    found = {tuple(row[key] for key in keys) for row in rows}
    return ", ".join(" ".join(map(str, way)) for way in product(*names) if way not in found)


def front(rows: Sequence[Row]) -> list[str]:
    """The ways smaller than FP16 that no other beats in both bytes and SQNR."""
    lines, highest = [], float("-inf")
    smaller = [row for row in rows if stored(row) < 16]
    for row in sorted(smaller, key=lambda r: (r["packed"], -r["sqnr_db"])):
        if row["sqnr_db"] > highest:
            highest = row["sqnr_db"]
            way = (row["scheme"], row["granularity"], row["bits"], row["code_bits"])
            size = (f"{stored(row):.3f}", f"{16 / stored(row):.2f}")
            lines.append((*way, *size, f"{highest:.2f}"))
    header = ("scheme", "granularity", "bits", "stored bits", "b/w", "than FP16", "SQNR, dB")
    return ["## What no other way beats, in bytes stored and SQNR at once", table(header, lines)]


def photos(rows: Sequence[Row]) -> list[str]:
    """Detections kept, lost and new, over all photos."""
    ways = dict.fromkeys((r["scheme"], r["bits"]) for r in rows)
    totals = {
        way: photo_total([r for r in rows if (r["scheme"], r["bits"]) == way]) for way in ways
    }
    lines = [(*way, *total.values()) for way, total in totals.items()]
    header = ("scheme", "bits", "stored bits", "SQNR, dB", "kept", "score, mean change", "lost",
              "new")  # fmt: skip
    names = list(dict.fromkeys(r["photo"] for r in rows))
    return [
        "## What a quantized detector still sees",
        f"{rows[0]['model']}, weights quantized per filter, on {len(names)} photos "
        f"({', '.join(names)}), by `bench/quantize/photos.py`: detections of the float model that "
        "are found again (same class, IoU of at least 0.5), lost, and new ones. "
        f"{contradictions(totals)}",
        table(header, lines),
    ]


def photo_total(rows: Sequence[Row]) -> Row:
    """One way of quantizing, all photos together."""
    kept = sum(r["kept"] for r in rows)
    change = sum(r["kept"] * r["score"] for r in rows if r["kept"])
    return {
        "code_bits": rows[0]["code_bits"],
        "sqnr_db": rows[0]["sqnr_db"],
        "kept": f"{kept} of {sum(r['float'] for r in rows)}",
        "score": f"{change / kept:+.2f}" if kept else "",
        "lost": "; ".join(r["lost"] for r in rows if r["lost"]),
        "new": "; ".join(r["new"] for r in rows if r["new"]),
    }


def contradictions(totals: Mapping[tuple[str, int], Row]) -> str:
    """Ways of equal stored bits of which the one with the higher SQNR keeps fewer detections."""
    found = [
        f"{a[0]} with {a[1]} bits has {one['sqnr_db']:.2f} dB and keeps {one['kept']}, "
        f"{b[0]} with {b[1]} bits {other['sqnr_db']:.2f} dB and keeps {other['kept']}"
        for a, one in totals.items()
        for b, other in totals.items()
        if one["code_bits"] == other["code_bits"]
        and one["sqnr_db"] > other["sqnr_db"]
        and int(one["kept"].split()[0]) < int(other["kept"].split()[0])
    ]
    if not found:
        return "Nowhere does a higher SQNR at equal stored bits keep fewer detections."
    return f"SQNR of weights is not all: {'; '.join(found)}."


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
    """Seconds for the whole network: the slowest granularity of every scheme and width."""
    slowest: dict[tuple[str, int], Row] = {}
    for r in rows:
        way = (r["scheme"], r["bits"])
        if way not in slowest or r["cpu_seconds"] > slowest[way]["cpu_seconds"]:
            slowest[way] = r
    lines = [
        (*way, r["granularity"], r["cores"], r["load"], r["seconds"], r["cpu_seconds"],
         max(o["peak_over_model"] for o in rows if (o["scheme"], o["bits"]) == way))
        for way, r in slowest.items()
    ]  # fmt: skip
    header = ("scheme", "bits", "slowest granularity", "cores", "load", "seconds", "CPU seconds",
              "peak memory / model, worst of all")  # fmt: skip
    threads = rows[0]["threads"]
    return [
        "## Speed",
        f"Full-size YOLOv7, 36.9 million weights, {threads} threads; the slowest granularity of "
        f"{len(rows)} ways measured. Cores are those the process was allowed to use, load is the "
        "number of processes that wanted a core in the minute before, up to two of them this "
        f"bench's own: with one core, or a load above {QUIET}, seconds are too many. CPU seconds "
        "are those of all threads together: with the machine to itself the network takes no "
        "longer than these, and half of them where both threads are busy all the time. Goals are "
        "judged by seconds where the machine was free, else by CPU seconds. "
        f"Peak memory is that of the process, model and interpreter included. {goals(rows)}",
        table(header, lines),
    ]


def took(row: Row) -> float:
    """Seconds where the machine was free, else CPU seconds of all threads."""
    free = row["cores"] >= row["threads"] and row["load"] <= QUIET
    return row["seconds"] if free else row["cpu_seconds"]


def goals(rows: Sequence[Row]) -> str:
    """Which rows miss 10 s (90 s for searches, lloyd-max up to 5 bits) or 3 times the model."""
    late, large = [], []
    for r in rows:
        limit = 90 if any(name in r["scheme"] for name in SEARCHES) else 10
        name = f"{r['scheme']} {r['granularity']} {r['bits']}"
        if took(r) > limit and not (r["scheme"] == "lloyd-max" and r["bits"] > 5):
            late.append(f"{name} ({took(r)} s)")
        if r["peak_over_model"] > 3:
            large.append(f"{name} ({r['peak_over_model']})")
    return (
        "Goal: 10 s, 90 s for the searches and for lloyd-max up to 5 bits; missed by "
        f"{', '.join(late) or 'none'}. Goal: 3 times the model in memory; missed by "
        f"{', '.join(large) or 'none'}."
    )
