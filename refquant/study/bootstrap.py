"""How sure is a difference in AP? A paired bootstrap over images, on pycocotools' own matches.

Image i counts w[i] times; w = 1 gives pycocotools' AP. For a category and an IoU threshold, over
its detections d in order of their scores (matches.py), all in float64:

    tp[d] = sum of w[image] over right detections up to d;  fp[d] over false ones    (1)
    precision[d] = tp[d] / (fp[d] + tp[d] + 2**-52)                                  (2)
    recall[d] = tp[d] / sum of w[i] * truths[i]                                      (3)
    envelope[d] = max of precision[d], precision[d + 1], ...                         (4)
    AP = mean over the categories with true boxes, thresholds and recalls 0, 0.01, ..., 1 of
         envelope[first d whose recall reaches it], 0 where none does                (5)

An image drawn twice counts twice at once; that equals two copies of it beside each other, save
where a right and a false detection of it have the same score. Categories whose true boxes all lie
in images that were not drawn leave the mean, as pycocotools leaves them out.

Paired bootstrap: draw I of the I images with replacement, B times, seeded; each draw weighs both
sets of results, so what makes an image hard for both cancels.
    difference = AP(a) - AP(b) with w = 1
    interval   the 2.5 % and 97.5 % quantiles of the B differences                   (6)
    better     only where the interval lies above 0, worse only where it lies below
The width of the interval falls as 1 / sqrt(images), with s the deviation of the B differences:
    images_needed(width) = I * (2 * 1.959964 * s / width)**2, rounded up             (7)

Error   (5) equals pycocotools' to 1e-12: the same terms, summed in another order.
Source  pycocotools' COCOeval.accumulate; Efron & Tibshirani 1993, chapter 13.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.detection.dataset import DataSet
from refquant.detection.results_json import Result
from refquant.study.matches import FALSE, RIGHT, Matches, matches_of

RECALLS = np.linspace(0.0, 1.0, 101)  # pycocotools' own
RESAMPLES = 1000
NORMAL_975 = 1.959963984540054  # the 97.5 % quantile of the normal distribution
VERDICTS = ("better", "worse", "not to be told apart")


@dataclass(frozen=True)
class Comparison:
    """AP of a against b (AP_other) on the same images; all differences are a - b, in [-1, 1].

    low, high   the 95 % interval       deviation   of the resampled differences
    verdict     one of VERDICTS, about a
    """

    AP: float
    AP_other: float
    difference: float
    low: float
    high: float
    deviation: float
    verdict: str
    images: int
    resamples: int
    seed: int

    def images_needed(self, width: float) -> int:
        """(7): how many images of this kind would make the interval `width` wide (in AP)."""
        if not 0 < width <= 2:
            raise BadInput(f"width={width}", "choose a width of AP above 0, such as 0.01")
        wide = 2 * NORMAL_975 * self.deviation
        return max(1, math.ceil(self.images * (wide / width) ** 2))

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"images_for_one_point": self.images_needed(0.01)}


def compare(
    dataset: DataSet,
    results: Iterable[Result],
    other: Iterable[Result],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """The paired bootstrap of two sets of COCO results on the same data set."""
    return compare_matches(
        matches_of(dataset, results), matches_of(dataset, other), resamples=resamples, seed=seed
    )


def compare_matches(
    a: Matches, b: Matches, *, resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """The same for matches that are at hand."""
    if a.truths.shape != b.truths.shape or (a.truths != b.truths).any():
        raise BadInput("matches", "the two are of different data sets", "use the same images")
    once = np.ones((1, a.images))
    whole = [float(average_precision(m, once)[0]) for m in (a, b)]
    if math.isnan(whole[0]):
        raise BadInput("data set", "no true boxes, hence no AP to compare")
    weights = drawn(a.images, resamples, seed)
    differences = average_precision(a, weights) - average_precision(b, weights)
    differences = differences[~np.isnan(differences)]  # no true box was drawn
    low, high, verdict = interval_of(differences)
    return Comparison(
        AP=whole[0],
        AP_other=whole[1],
        difference=whole[0] - whole[1],
        low=low,
        high=high,
        deviation=float(differences.std(ddof=1)),
        verdict=verdict,
        images=a.images,
        resamples=resamples,
        seed=seed,
    )


def interval_of(differences: NDArray[np.float64]) -> tuple[float, float, str]:
    """(6) of the differences (B,) that are known, and the verdict; BadInput for fewer than two."""
    if differences.size < 2:
        problem = f"{differences.size} have a true box, an interval needs two"
        raise BadInput("resamples", problem, "choose more, 1000 for an interval")
    low, high = np.quantile(differences, (0.025, 0.975)).tolist()  # (6)
    return low, high, VERDICTS[0] if low > 0 else VERDICTS[1] if high < 0 else VERDICTS[2]


def drawn(images: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each image is drawn, (B, I) float64; each row sums to I."""
    if resamples < 2:
        raise BadInput(f"resamples={resamples}", "choose 2 or more, 1000 for an interval")
    if seed < 0:
        raise BadInput(f"seed={seed}", "choose 0 or more")
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), resamples)
    return draws.astype(np.float64)


def average_precision(matches: Matches, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """AP (B,) for image weights (B, I), each >= 0 and finite; NaN where no true box counts."""
    from refquant.study.bootstrap_loops import ap_of_weights

    weights = np.ascontiguousarray(weights, np.float64)
    if weights.ndim != 2 or weights.shape[1] != matches.images:
        raise BadInput("weights", f"shape {weights.shape} is not (resamples, {matches.images})")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise BadInput("weights", "one is negative or not finite", "give counts of images")
    ap = np.empty(len(weights))
    ap_of_weights(weights, *matches, RECALLS, ap)
    return ap


def ap_ref(matches: Matches, weights: NDArray[np.float64]) -> float:
    """The definition, for one set of weights (I,): (1) to (5) on every detection."""
    sampled = []
    for k, truths in enumerate(matches.truths):
        positives = (weights * truths).sum()
        if positives == 0:
            continue
        category = slice(matches.start[k], matches.start[k + 1])
        w = weights[matches.image[category]]
        for verdict in matches.verdict[:, category]:
            tp = np.cumsum(np.where(verdict == RIGHT, w, 0))  # (1)
            fp = np.cumsum(np.where(verdict == FALSE, w, 0))
            precision = tp / (fp + tp + np.spacing(1))  # (2)
            recall = tp / positives  # (3)
            envelope = np.maximum.accumulate(precision[::-1])[::-1]  # (4)
            first = np.searchsorted(recall, RECALLS)
            sampled.append(np.append(envelope, 0.0)[first])
    return float(np.mean(sampled)) if sampled else math.nan  # (5)
