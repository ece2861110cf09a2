"""What the measured rows say about the study's claims: sentences are conditions on the rows.

Equal stored bits: a piecewise linear scheme of k bits is set beside the others of k + 1, since
that is the width of its codes. All of it on weights alone; AP is the study's business.
"""

from collections.abc import Sequence
from typing import Any

from bench.pages import table
from bench.quantize.tables import Row, find, stored
from refquant.study.yolov7_memory import room

PIECEWISE = ("pwlq", "pwlq:laplacian", "pwlq:search", "pwlq-code")
UNIFORM = ("affine", "affine:mse", "symmetric", "symmetric:mse")
PLAIN = ("layer", "filter", "channel", "f-shape", "c-shape")
PRICED = ("affine", "affine:mse", "pwlq", "pwlq:search")


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
    lines, won, nominal_wins = [], {}, 0
    for granularity in PLAIN:
        for width in range(3, 9):
            piecewise = best(rows, PIECEWISE, granularity, width)
            uniform = best(rows, UNIFORM, granularity, width)
            lesser = best(rows, UNIFORM, granularity, width - 1)
            if piecewise is None or uniform is None or lesser is None:
                continue
            gain = piecewise["sqnr_db"] - uniform["sqnr_db"]
            nominal = piecewise["sqnr_db"] - lesser["sqnr_db"]
            won.setdefault(width, []).append(gain > 0)
            nominal_wins += nominal > 0
            lines.append((granularity, width, f"{uniform['scheme']} {uniform['sqnr_db']:.2f}",
                          f"{piecewise['scheme']} {piecewise['sqnr_db']:.2f}", f"{gain:+.2f}",
                          f"{nominal:+.2f}"))  # fmt: skip
    header = ("granularity", "stored bits", "best uniform, dB", "best piecewise linear, dB",
              "gain, equal stored bits", "gain, equal nominal bits")  # fmt: skip
    by_width = "; ".join(f"{w} bits: {sum(v)} of {len(v)}" for w, v in sorted(won.items()))
    return [
        "## Does piecewise linear quantization still win at equal stored bits?",
        f"At equal *nominal* bits it wins in {nominal_wins} of {len(lines)} cases, with twice as "
        f"many codes. At equal *stored* bits it wins in {sum(map(sum, won.values()))} of "
        f"{len(lines)}; by width of the codes, {by_width}. Uniform: the best of "
        f"{', '.join(UNIFORM)}; piecewise linear: the best of {', '.join(PIECEWISE)}, "
        "stored bits being nominal bits plus one.",
        table(header, lines),
        *own_schemes(rows),
    ]


def own_schemes(rows: Sequence[Row]) -> list[str]:
    """The study's two schemes as it has them: plain range, closed form."""
    lines = []
    for bits in range(2, 8):
        affine, piecewise, wider = (
            find(rows, scheme=scheme, granularity="filter", bits=width)
            for scheme, width in (
                ("affine:minmax", bits),
                ("pwlq", bits),
                ("affine:minmax", bits + 1),
            )
        )
        if affine and piecewise and wider:
            lines.append((bits, f"{affine['sqnr_db']:.2f} ({stored(affine):.3f})",
                          f"{piecewise['sqnr_db']:.2f} ({stored(piecewise):.3f})",
                          f"{wider['sqnr_db']:.2f} ({stored(wider):.3f})",
                          f"{piecewise['sqnr_db'] - affine['sqnr_db']:+.2f}",
                          f"{piecewise['sqnr_db'] - wider['sqnr_db']:+.2f}"))  # fmt: skip
    header = ("k", "affine:minmax, k bits", "pwlq, k bits", "affine:minmax, k + 1 bits",
              "pwlq gains at equal nominal bits", "at equal stored bits")  # fmt: skip
    return [
        "The study's own two schemes, per filter: SQNR in dB, stored bits per weight in brackets.",
        table(header, lines),
    ]


def price(rows: Sequence[Row], scheme: str, bits: int) -> float | None:
    """dB per stored bit of a code one bit wider, per filter."""
    base, wider = (
        find(rows, scheme=scheme, granularity="filter", bits=b) for b in (bits, bits + 1)
    )
    if base is None or wider is None:
        return None
    return (wider["sqnr_db"] - base["sqnr_db"]) / (stored(wider) - stored(base))


def net(row: Row, base: Row, per_bit: float) -> float:
    """What a row gains over filter level beyond what its added bits would buy as wider codes."""
    return row["sqnr_db"] - base["sqnr_db"] - per_bit * (stored(row) - stored(base))


def granularities(rows: Sequence[Row]) -> list[str]:
    """What a finer granularity buys, and what the same bytes buy as wider codes."""
    names = list(dict.fromkeys(r["granularity"] for r in rows))
    lines, winners = [], []
    for scheme in PRICED:
        for bits in range(3, 8):
            per_bit = price(rows, scheme, bits)
            base = find(rows, scheme=scheme, granularity="filter", bits=bits)
            if per_bit is None or base is None:
                continue
            found = [find(rows, scheme=scheme, granularity=name, bits=bits) for name in names]
            gains = {r["granularity"]: net(r, base, per_bit) for r in found if r is not None}
            winner = max(gains, key=lambda name: gains[name])
            winners.append(winner)
            cells = [f"**{g:+.2f}**" if n == winner else f"{g:+.2f}" for n, g in gains.items()]
            lines.append((scheme, bits, f"{per_bit:.2f}", *cells))
    counts = sorted({(winners.count(name), name) for name in winners}, reverse=True)
    said = ", ".join(f"{name} in {count}" for count, name in counts)
    return [
        "## Which granularity is best per byte?",
        "A finer granularity gains dB and stores more parameters; the same bytes could buy wider "
        "codes. Gain over filter level in dB, less what its added bits are worth as wider codes "
        "(the price: dB per stored bit of one more bit per code, per filter). Above zero it pays. "
        f"Best of {len(lines)} cases: {said}.",
        table(("scheme", "bits", "price", *names), lines),
        "The same with 4 bits in full:",
        table(("scheme", "", "groups", "SQNR, dB", "b/w"), four_bits(rows, names)),
    ]


def four_bits(rows: Sequence[Row], names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Groups, SQNR and size of every granularity with 4 bits."""
    return [
        (scheme, name, r["groups"], f"{r['sqnr_db']:.2f}", f"{stored(r):.3f}")
        for scheme in PRICED
        for name in names
        if (r := find(rows, scheme=scheme, granularity=name, bits=4)) is not None
    ]


def combinations(rows: Sequence[Row]) -> list[str]:
    """The three readings, what they store, and which is within the study's figures."""
    lines = [
        (r["scheme"], r["granularity"], f"{r['filter']} / {r['f-shape']} / {r['c-shape']}",
         f"{r['groups']:,}", f"{r['sqnr_db']:.2f}", f"{r['nominal_saving']:.3f}",
         f"{r['packed_saving']:.3f}", f"{r['entropy_saving']:.3f}")
        for r in rows
    ]  # fmt: skip
    header = ("scheme", "granularity", "layers at filter / f-shape / c-shape", "groups",
              "SQNR, dB", "nominal saving", "stored saving", "entropy saving")  # fmt: skip
    return [
        "## Which reading of “combination” gives the study's savings?",
        " ".join(reading(rows, scheme, of) for scheme, of in (("affine", 3.92), ("pwlq", 3.86))),
        "Savings are of the whole network against FP16 in the study's accounting; the four layers "
        "that are not at hand stay at filter level here, and finer ones would only add groups. "
        "SQNR is of the trained layers.",
        table(header, lines),
    ]


def reading(rows: Sequence[Row], scheme: str, published: float) -> str:
    """Whether each reading of one scheme lies in the interval of groups that its saving allows."""
    own = [r for r in rows if r["scheme"] == scheme and "+" in r["granularity"]]
    fewest, most = own[0]["fewest_groups"], own[0]["most_groups"]
    names = {r["granularity"].partition(":")[2] or "least error": r for r in own}
    within = [name for name, r in names.items() if fewest <= r["groups"] <= most]
    least = names["least error"]
    low, high = room(published, scheme, 4)
    return (
        f"**{scheme}**: {published} is given by {low:,} to {high:,} groups of YOLOv7 with 80 "
        f"classes, {fewest:,} to {most:,} of this one with 3. The smallest error per layer takes "
        f"{least['groups']:,} groups and saves {least['nominal_saving']:.3f}: "
        f"{'it lands within.' if 'least error' in within else 'it cannot be what was reported.'} "
        f"Within: {', '.join(within) or 'none'}."
    )
