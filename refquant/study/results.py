"""From what was measured to results.json: losses, intervals, comparisons, Pareto fronts, claims.

AP, AP_float in [0, 1]; r, r_float (B,) the replicates of a configuration and of float32.
    difference  100 * (AP - AP_float)              points of AP, below 0 for a loss           (1)
    interval    the 2.5 % and 97.5 % quantiles of 100 * (r - r_float)                         (2)
    verdict     "better" where the interval lies above 0, "worse" where it lies below         (3)
    percent     100 * (AP - AP_float) / AP_float   relative, its interval that of
                100 * (r - r_float) / r_float                                                 (4)
    images_for_one_point   images that would make (2) one point wide: I * (2 * 1.96 * s)**2,
                s the deviation of 100 * (r - r_float)                                        (5)

A configuration is on the Pareto front of bits per weight if no other has at most its bits and at
least its AP, and one of the two truly better. Fronts are of point estimates; the intervals say
which of their members could change places.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.detection.score import NUMBERS
from refquant.quant.schemes import find_scheme
from refquant.study.bootstrap import NORMAL_975, interval_of
from refquant.study.claims import claims
from refquant.study.configurations import PAPER_GRANULARITIES, Configuration

WAYS = ("nominal", "packed")


class Measured(NamedTuple):
    """A configuration and what is known of it: measure.py's, and sweep.py's evaluation."""

    configuration: Configuration
    sizes: Mapping[str, Any]
    ap: Mapping[str, Any] | None


def assembled(facts: Mapping[str, Any], records: Sequence[Measured]) -> dict[str, Any]:
    """The object of results.json; depends on its arguments alone. The first record is float32."""
    rows = [row_of(record, records[0], facts["data"]["images"]) for record in records]
    mark_fronts(rows[1:])
    results = {
        **facts,
        "layers": [
            {"name": layer["name"], "weights": layer["weights"]}
            for layer in records[0].sizes["layers"]
        ],
        "configurations": rows,
        "comparisons": comparisons(records, facts["data"]["images"]),
    }
    results["claims"] = [claim._asdict() for claim in claims(results)]
    return json.loads(json.dumps(results, allow_nan=False))


def row_of(record: Measured, baseline: Measured, images: int) -> dict[str, Any]:
    """One configuration: what it is, its sizes, its errors, its AP, its loss."""
    c, sizes = record.configuration, record.sizes
    kept = ("bytes", "ratios", "groups", "bits_per_weight", "predicted_db")
    row: dict[str, Any] = {
        "name": c.name,
        "scheme": c.scheme,
        "granularity": c.granularity,
        "combined": c.combined,
        "bits": c.bits,
        "code_bits": find_scheme(c.scheme).code_bits(c.bits) if c.scheme else 32,
        **{name: sizes[name] for name in kept},
        "sqnr_db": [layer["sqnr_db"] for layer in sizes["layers"]],
        "chosen": counted([layer["granularity"] for layer in sizes["layers"]]),
        "front": dict.fromkeys(WAYS, False),
        **dict.fromkeys((*NUMBERS, "per_class", "detections", "predictions_sha256", "loss")),
    }
    if record.ap is not None and baseline.ap is not None:
        row.update({key: value for key, value in record.ap.items() if key != "replicates"})
        row["loss"] = difference(record.ap, baseline.ap, images)
    return row


def counted(names: Sequence[str]) -> dict[str, int]:
    """How many layers have each granularity."""
    return {name: names.count(name) for name in sorted(set(names)) if name}


def difference(a: Mapping[str, Any], b: Mapping[str, Any], images: int) -> dict[str, Any]:
    """Equations (1) to (5) of a against b."""
    r, r_b = replicates(a), replicates(b)
    known = ~(np.isnan(r) | np.isnan(r_b))
    points = 100 * (r - r_b)[known]
    low, high, verdict = interval_of(points)  # (2), (3)
    deviation = float(points.std(ddof=1))
    return {
        "points": 100 * (a["AP"] - b["AP"]),  # (1)
        "low": low,
        "high": high,
        "verdict": verdict,
        **relative(a["AP"], b["AP"], r[known], r_b[known]),
        "images_for_one_point": max(
            1, math.ceil(images * (2 * NORMAL_975 * deviation) ** 2)
        ),  # (5)
    }


def relative(ap: float, base: float, r: NDArray[Any], r_b: NDArray[Any]) -> dict[str, Any]:
    """Equation (4); None where the base is 0 in a resample."""
    if not base or not (r_b > 0).all():
        return {"percent": None, "percent_low": None, "percent_high": None}
    low, high = np.quantile(100 * (r - r_b) / r_b, (0.025, 0.975)).tolist()
    return {"percent": 100 * (ap - base) / base, "percent_low": low, "percent_high": high}


def replicates(ap: Mapping[str, Any]) -> NDArray[np.float64]:
    """The replicates (B,), NaN for None."""
    return np.array(ap["replicates"], np.float64)


def mark_fronts(rows: Sequence[dict[str, Any]]) -> None:
    """Set row["front"][way] of the rows that are on a Pareto front."""
    known = [row for row in rows if row["AP"] is not None]
    for way in WAYS:
        for row in known:
            row["front"][way] = not any(
                dominates(other, row, way) for other in known if other is not row
            )


def dominates(a: Mapping[str, Any], b: Mapping[str, Any], way: str) -> bool:
    """Whether a is at least as small and as precise as b, and smaller or more precise."""
    bits_a, bits_b = a["bits_per_weight"][way], b["bits_per_weight"][way]
    return bits_a <= bits_b and a["AP"] >= b["AP"] and (bits_a, a["AP"]) != (bits_b, b["AP"])


def comparisons(records: Sequence[Measured], images: int) -> list[dict[str, Any]]:
    """The differences that the report speaks of, a against b, each with its interval."""
    known = {r.configuration: r.ap for r in records if r.ap is not None and r.configuration.scheme}
    return [
        {"a": a.name, "b": b.name, **difference(known[a], known[b], images)}
        for a, b in dict.fromkeys(pairs(known))
        if a in known and b in known
    ]


def pairs(
    known: Mapping[Configuration, Mapping[str, Any]],
) -> Iterator[tuple[Configuration, Configuration]]:
    """Which configurations are worth comparing; some may not be among `known`."""
    for c in known:
        if c.scheme != "affine":
            yield c, c._replace(scheme="affine")
            stored = find_scheme(c.scheme).code_bits(c.bits)
            if stored != c.bits:  # at equal stored bits
                yield c, c._replace(scheme="affine", bits=stored)
        if c.granularity != "filter":
            yield c, c._replace(granularity="filter")
        if c.combined:
            single = [
                other
                for other in known
                if (other.scheme, other.bits) == (c.scheme, c.bits)
                and other.granularity in PAPER_GRANULARITIES
            ]
            if single:
                yield c, max(single, key=lambda other: known[other]["AP"])
