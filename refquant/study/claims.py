"""The paper's claims, each beside what was measured here, with a verdict and its reason.

A verdict is one of
    reproduced             a memory figure: YOLOv7's shapes give it to the two decimals printed
                           a loss: same network, same images, and the figure within the interval
                           an order: the paired interval lies on the side that the paper says,
                           for every reading of it
    not reproduced         the same, the other way
    cannot be decided here the network or the images are others, the interval holds 0, readings
                           disagree, nothing was run, or the paper does not say what it did
What the paper did not compare, but should have (PWLQ at equal stored bits), is no claim of it. Its
verdict is, by the paired interval,
    holds here, does not hold here, or cannot be decided here

Published figures are those of the abstract of Baghbanbashi, Raji, Ghavami: Quantizing YOLOv7: A
Comprehensive Study, CSICC 2023, arXiv 2407.04943: 4 bits, YOLOv7, COCO. Which granularity "affine
alone" has is not printed; filter level is the one whose memory fits. Orders are not figures of the
paper but follow from its figures. No line of text here holds a measurement: each is put in from
the results.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from refquant.study import yolov7_memory
from refquant.study.bootstrap import VERDICTS
from refquant.study.configurations import MEMBERS, PAPER_BITS, PAPER_GRANULARITIES
from refquant.study.wording import Results, Row, loss_of, percent, with_interval

REPRODUCED, NOT, OPEN = "reproduced", "not reproduced", "cannot be decided here"
HOLDS, FAILS = "holds here", "does not hold here"
BETTER, WORSE, _ = VERDICTS
NOT_COMPARED = "not compared"
COCO_IMAGES = 5000


class Published(NamedTuple):
    """A row of the abstract: smaller than FP16 by `saving`, mAP loss in percent (or points)."""

    label: str
    scheme: str
    combined: bool
    saving: float
    loss: float


PUBLISHED = (
    Published("affine alone", "affine", False, 3.93, 3.4),
    Published("PWLQ alone", "pwlq", False, 3.88, 1.1),
    Published("uniform combination", "affine", True, 3.92, 2.5),
    Published("PWLQ combination", "pwlq", True, 3.86, 1.0),
)


class Claim(NamedTuple):
    """One line of the section; `here` has a text for every reading of the claim."""

    claim: str
    published: str
    here: Sequence[str]
    verdict: str
    reason: str


def claims(results: Results) -> list[Claim]:
    """Every claim, whatever part of our study is done."""
    memory = [memory_claim(results, row) for row in PUBLISHED]
    losses = [loss_claim(results, row) for row in PUBLISHED]
    return [*memory, *losses, *orders(results), best(results)]


def not_run(claim: str, published: str) -> Claim:
    return Claim(claim, published, ["not evaluated"], OPEN, "It is no part of this run so far.")


def memory_claim(results: Results, row: Published) -> Claim:
    """How many times smaller than FP16."""
    claim, published = f"Memory at {PAPER_BITS} bits, {row.label}", f"{row.saving:.2f}x"
    if row.combined:
        return combined_memory(results, row, claim, published)
    counted = yolov7_memory.saving(row.scheme, "filter", PAPER_BITS)
    stored = yolov7_memory.saving(row.scheme, "filter", PAPER_BITS, stored=True)
    verdict = REPRODUCED if round(counted, 2) == row.saving else NOT
    here = [f"{counted:.3f}x"]
    reason = (
        "This follows from YOLOv7's shapes, with one group per filter, batch norms unfolded and"
        " FP16 for the rest."
    )
    if stored != counted:
        here = [f"{counted:.3f}x nominal", f"{stored:.3f}x stored"]
        reason += (
            f" It holds only in nominal bits: a code also has to say which piece it is of, so"
            f" {PAPER_BITS + 1} bits are stored per weight and {stored:.2f}x is what remains."
        )
    return Claim(claim, published, here, verdict, reason)


def combined_memory(results: Results, row: Published, claim: str, published: str) -> Claim:
    """The memory of a combination, which depends on how it is chosen."""
    low, high = yolov7_memory.room(row.saving, row.scheme, PAPER_BITS)
    here = [
        f"{reading(found)}: {found['ratios']['nominal']['fp16']:.2f}x (this model)"
        for found in configurations(results, row)
    ]
    reason = (
        f"How it is chosen is not printed. {published} leaves room for {low:,} to {high:,} groups"
        f" in YOLOv7, where filter level takes {yolov7_memory.groups('filter'):,}, F-shape"
        f" {yolov7_memory.groups('f-shape'):,} and C-shape {yolov7_memory.groups('c-shape'):,}:"
        " few layers can have left filter level."
    )
    return Claim(claim, published, here or ["not evaluated"], OPEN, reason)


def configurations(results: Results, row: Published) -> list[Row]:
    """The configurations here that a row of the abstract can mean."""
    return [
        found
        for found in results["configurations"]
        if (found["scheme"], found["bits"]) == (row.scheme, PAPER_BITS)
        and found["granularity"].partition(":")[0] == (MEMBERS if row.combined else "filter")
    ]


def reading(row: Row) -> str:
    """How a combination's members are chosen."""
    name, _, saving = row["granularity"].partition(":")[2].partition("=")
    return f"{name}, {float(saving):.2f}x" if name else "least error"


def loss_claim(results: Results, row: Published) -> Claim:
    """The loss of mAP; the paper does not say whether in points or relative."""
    claim, published = f"Loss of mAP at {PAPER_BITS} bits, {row.label}", f"{row.loss:.1f}%"
    known = [found for found in configurations(results, row) if found["loss"]]
    if not known:
        return not_run(claim, published)
    here = [loss_text(found) for found in known]
    if not same_ground(results):
        reason = (
            f"The figure is of YOLOv7 on the {COCO_IMAGES:,} images of COCO val2017, this"
            " one is of another network or of other images."
        )
        return Claim(claim, published, here, OPEN, reason)
    hit = any(contains(found["loss"], row.loss) for found in known)
    reason = f"The interval, in points or relative, {'holds' if hit else 'does not hold'} it."
    return Claim(claim, published, here, REPRODUCED if hit else NOT, reason)


def loss_text(row: Row) -> str:
    """A loss such as "3.1 points [2.2, 4.0], 6.2% relative"; it is positive, as in the paper."""
    relative = row["loss"]["percent"]
    text = loss_of(row) + ("" if relative is None else f", {percent(-relative)} relative")
    return f"{reading(row)}: {text}" if row["combined"] else text


def contains(loss: Mapping[str, Any], figure: float) -> bool:
    """Whether the published loss lies within the interval, in points or in percent."""
    spans = [(loss["low"], loss["high"])]
    if loss["percent"] is not None:
        spans.append((loss["percent_low"], loss["percent_high"]))
    return any(low <= -figure <= high for low, high in spans)


def same_ground(results: Results) -> bool:
    """Whether this is the paper's network on the paper's images."""
    data = results["data"]
    coco = "val2017" in data["name"] and data["images"] == COCO_IMAGES
    return results["model"]["official"] == "yolov7.pt" and coco


def orders(results: Results) -> Iterator[Claim]:
    """What the figures say about which is better; a model of any size can contradict it."""
    affine, pwlq = f"affine filter {PAPER_BITS}", f"pwlq filter {PAPER_BITS}"
    text = "PWLQ loses less than affine"
    yield order(results, text, "1.1% < 3.4%", [("", pwlq, affine)])
    wider = f"affine filter {PAPER_BITS + 1}"
    text = f"... at equal stored bits: {PAPER_BITS}-bit PWLQ against {PAPER_BITS + 1}-bit affine"
    equal = order(results, text, NOT_COMPARED, [("", pwlq, wider)])
    yield equal._replace(verdict={REPRODUCED: HOLDS, NOT: FAILS, OPEN: OPEN}[equal.verdict])
    for row, single in zip(PUBLISHED[2:], PUBLISHED[:2], strict=True):
        pairs = [
            (reading(found), found["name"], f"{single.scheme} filter {PAPER_BITS}")
            for found in configurations(results, row)
        ]
        text = f"The {row.label} loses less than {single.label}"
        yield order(results, text, f"{row.loss:.1f}% < {single.loss:.1f}%", pairs)


def order(
    results: Results, claim: str, published: str, pairs: Sequence[tuple[str, str, str]]
) -> Claim:
    """Whether a has the higher AP, for every (label, a, b), by the paired intervals."""
    known = {(found["a"], found["b"]): found for found in results["comparisons"]}
    found = [(label, known[a, b]) for label, a, b in pairs if (a, b) in known]
    if not found:
        return not_run(claim, published)
    here = [
        f"{label}: {with_interval(pair)} points"
        if label
        else f"{with_interval(pair)} points of AP"
        for label, pair in found
    ]
    return Claim(claim, published, here, *judged([pair for _, pair in found]))


def judged(pairs: Sequence[Row]) -> tuple[str, str]:
    """(verdict, reason) of paired comparisons that all should come out better."""
    verdicts = {pair["verdict"] for pair in pairs}
    many = len(pairs) > 1
    if verdicts == {BETTER}:
        return REPRODUCED, f"{'All intervals lie' if many else 'The interval lies'} above 0 here."
    if verdicts == {WORSE}:
        return NOT, f"{'All intervals lie' if many else 'The interval lies'} below 0 here."
    if {BETTER, WORSE} <= verdicts:
        return OPEN, "The readings disagree, and the paper does not say which one it means."
    most = max(
        pair["images_for_one_point"] for pair in pairs if pair["verdict"] not in (BETTER, WORSE)
    )
    text = f"about {most:,} images like these would make it one point wide."
    return OPEN, f"{'An' if many else 'The'} interval holds 0; {text}"


def best(results: Results) -> Claim:
    """The combination against the best single granularity of the same scheme."""
    claim = "Best: the combination of filter, F-shape and C-shape"
    rows = {row["name"]: row for row in results["configurations"]}
    pairs = [
        (rows[pair["a"]], rows[pair["b"]], pair)
        for pair in results["comparisons"]
        if is_best_single(rows, pair)
    ]
    if not pairs:
        return not_run(claim, "stated")
    here = [
        f"{a['scheme']}, {reading(a)}: {with_interval(pair)} against {b['granularity']}"
        for a, b, pair in pairs
    ]
    verdict, reason = judged([pair for _, _, pair in pairs])
    reason += (
        " Each reading is compared with the one of the paper's five granularities that has its"
        " scheme's highest AP here; bytes are not weighed."
    )
    return Claim(claim, "stated", here, verdict, reason)


def is_best_single(rows: Mapping[str, Row], pair: Row) -> bool:
    """Whether a pair is a combination of the paper's against its most precise single rival."""
    a, b = rows[pair["a"]], rows[pair["b"]]
    if not a["combined"] or a["scheme"] not in ("affine", "pwlq") or a["bits"] != PAPER_BITS:
        return False
    rivals = [
        row["AP"]
        for row in rows.values()
        if (row["scheme"], row["bits"]) == (a["scheme"], a["bits"])
        and row["granularity"] in PAPER_GRANULARITIES
        and row["AP"] is not None
    ]
    same = (b["scheme"], b["bits"]) == (a["scheme"], a["bits"])
    return same and b["granularity"] in PAPER_GRANULARITIES and b["AP"] == max(rivals)
