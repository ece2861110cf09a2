"""The report's first words: what the results say, each sentence made from numbers or left out."""

from collections.abc import Sequence

import numpy as np

from refquant.study.bootstrap import VERDICTS
from refquant.study.claims import PUBLISHED
from refquant.study.configurations import PAPER_BITS
from refquant.study.report.document import Block, Bullets, Heading
from refquant.study.wording import Results, Row, interval, loss_of, number, short

BETTER, WORSE, OPEN = VERDICTS


def findings(results: Results) -> list[Block]:
    """The section "In short"."""
    rows = [r for r in results["configurations"] if r["scheme"] and r["loss"] is not None]
    sentences = [
        text
        for text in (
            at_filter_level(rows),
            equal_bits(results),
            granularities(rows),
            combinations(results),
            cheapest(rows),
            prediction(rows),
        )
        if text
    ]
    return [Heading("In short"), Bullets(sentences)] if sentences else []


def at_filter_level(rows: Sequence[Row]) -> str:
    """The paper's three schemes side by side, and what the paper prints."""
    known = [
        f"{row['scheme']} {loss_of(row)}"
        for scheme in ("affine", "symmetric", "pwlq")
        for row in rows
        if (row["scheme"], row["granularity"], row["bits"]) == (scheme, "filter", PAPER_BITS)
    ]
    if not known:
        return ""
    printed = " and ".join(f"{p.loss:.1f}% ({p.scheme})" for p in PUBLISHED if not p.combined)
    return (
        f"At {PAPER_BITS} bits with one group per filter, the losses of AP are: {', '.join(known)}"
        f". For YOLOv7 the paper prints {printed}."
    )


def equal_bits(results: Results) -> str:
    """PWLQ's extra bit, spent on affine instead."""
    a, b = f"pwlq filter {PAPER_BITS}", f"affine filter {PAPER_BITS + 1}"
    pair = next((p for p in results["comparisons"] if (p["a"], p["b"]) == (a, b)), None)
    if pair is None:
        return ""
    low, high = pair["low"], pair["high"]
    if pair["verdict"] == WORSE:  # "less" turns the sign of its interval too
        low, high = -high, -low
    says = {
        BETTER: f"pwlq keeps {number(pair['points'])} points more",
        WORSE: f"pwlq keeps {number(-pair['points'])} points less",
        OPEN: "pwlq cannot be told from it",
    }[pair["verdict"]]
    return (
        f"{PAPER_BITS}-bit PWLQ stores {PAPER_BITS + 1} bits per weight. Compared with affine"
        f" at {PAPER_BITS + 1} bits, {says} {interval(low, high)}."
    )


def granularities(rows: Sequence[Row]) -> str:
    """The best granularity of affine and its price."""
    known = [row for row in rows if (row["scheme"], row["bits"]) == ("affine", PAPER_BITS)]
    if len(known) < 3:
        return ""
    best = max(known, key=lambda row: row["AP"])
    worst = min(known, key=lambda row: row["AP"])
    bits = {id(row): number(row["bits_per_weight"]["packed"], 2) for row in (best, worst)}
    return (
        f"Of affine's granularities at {PAPER_BITS} bits, {best['granularity']} loses least,"
        f" {loss_of(best)} at {bits[id(best)]} stored bits per weight, {worst['granularity']}"
        f" most, {loss_of(worst)} at {bits[id(worst)]}."
    )


def combinations(results: Results) -> str:
    """Why combined granularities can lose more than one of them alone: what they are chosen by.

    Each combination of least error stands beside the best of its members that it is worse than,
    by the paired interval; there is no sentence where it is worse than none.
    """
    rows = {row["name"]: row for row in results["configurations"]}
    better: dict[str, Row] = {}
    for pair in results["comparisons"]:
        a, b = rows[pair["a"]], rows[pair["b"]]
        if pair["verdict"] == WORSE and is_member(b, a):
            better[a["name"]] = max(b, better.get(a["name"], b), key=lambda row: row["AP"])
    if not better:
        return ""
    lose = "; ".join(
        f"{short(rows[name])} loses {number(-rows[name]['loss']['points'])} points of AP,"
        f" {short(b)} alone {number(-b['loss']['points'])}"
        for name, b in better.items()
    )
    return (
        f"{lose}: a combination takes in every layer the granularity with the smallest error of"
        " the weights, and the smallest error of the weights is not the smallest loss of AP."
    )


def is_member(single: Row, combination: Row) -> bool:
    """Whether a combination of least error, without a budget, could choose this in every layer."""
    members, _, budget = combination["granularity"].partition(":")
    same = all(single[key] == combination[key] for key in ("scheme", "bits"))
    return same and not budget and single["granularity"] in members.split("+")


def cheapest(rows: Sequence[Row]) -> str:
    """The fewest stored bits that these images do not tell from float32."""
    known = [row for row in rows if row["loss"]["verdict"] != WORSE]
    if not known:
        return "Every configuration is worse than float32, by its interval."
    best = min(known, key=lambda row: row["bits_per_weight"]["packed"])
    return (
        "The smallest configuration that these images do not show to be worse than float32 is"
        f" {best['name']}, with {number(best['bits_per_weight']['packed'], 2)} stored bits per"
        f" weight and a loss of {loss_of(best)}."
    )


def prediction(rows: Sequence[Row]) -> str:
    """Spearman's rank correlation of predicted error and loss."""
    known = [row for row in rows if row["predicted_db"] is not None]
    if len(known) < 5:
        return ""
    ranks = [
        ranked([row["predicted_db"] for row in known]),
        ranked([-row["loss"]["points"] for row in known]),
    ]
    if any(len(set(rank)) < 2 for rank in ranks):
        return ""
    rho = float(np.corrcoef(np.array(ranks))[0, 1])
    return (
        f"The error of the weights alone orders the {len(known)} configurations almost as AP does"
        if rho > 0.9
        else f"The error of the weights alone orders the {len(known)} configurations only in part"
    ) + f" (rank correlation {number(rho, 2)})."


def ranked(values: Sequence[float]) -> list[float]:
    """Ranks from 0; equal values share the mean of theirs."""
    order = np.sort(values)
    first = np.searchsorted(order, values, "left")
    last = np.searchsorted(order, values, "right")
    return list(((first + last - 1) / 2).tolist())
