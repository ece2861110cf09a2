"""The levels of least squared error for sorted rows: 1-D k-means by dynamic programming.

x        (G, N) float32, ascending in every row
levels   (G, K) float64, ascending

With v = x - x[middle], and sums from the middle outwards, so that an outlier spoils no others:
    S(n) = sum of v before n, negative before the middle;  Q(n) of v**2 likewise (1)
    cost(i, j) = Q(j) - Q(i) - (S(j) - S(i))**2 / (j - i), one level for v_i ... v_(j-1)   (2)
    D(k, j) = min over i of D(k-1, i) + cost(i, j), the best k levels for the first j      (3)
    the best i of (3) does not fall as j grows, so (3) is solved for the middle j first, then
    for both halves within the cuts found: O(K N log N)                          (4)
    level = x[middle] + (S(j) - S(i)) / (j - i)                                  (5)

The cuts i and j are all places between weights (exact), or those of a fine histogram: HISTOGRAM
places of equal counts and as many of equal widths. The histogram is followed by Lloyd's iteration
on all weights: cut at the midpoints of levels, take means; it ends when no cut moves, or after
ITERATIONS.
Arithmetic  float64 in the order written. In (4) the first of equal cuts wins. "Optimal" means
optimal up to the rounding of (2).
"""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Places = NDArray[np.int64]

HISTOGRAM = 1024
ITERATIONS = 100


def fit_rows_ref(x: NDArray[np.float32], K: int, exact: bool) -> Float64:
    """Levels (G, K) of sorted rows x (G, N); where `exact`, cuts may be at all places."""
    return np.stack([fit_row(row, K, exact) for row in x])


def fit_row(row: NDArray[np.float32], K: int, exact: bool) -> Float64:
    """Levels (K,) of one sorted row."""
    different = np.unique(row).astype(np.float64)
    if different.size <= K:
        return np.pad(different, (0, K - different.size), mode="edge")
    S, Q = sums(row)
    places = np.arange(row.size + 1) if exact else histogram(row)
    cuts = best_cuts(S, Q, places, K)
    if not exact:
        cuts = lloyd(row, S, cuts)
    return means(row, S, cuts)


def sums(row: NDArray[np.float32]) -> tuple[Float64, Float64]:
    """Equation (1): S and Q, (N + 1,) each."""
    middle = row.size // 2
    v = row.astype(np.float64) - np.float64(row[middle])

    def outwards(terms: Float64) -> Float64:
        before = -np.cumsum(terms[:middle][::-1])[::-1]
        return np.concatenate((before, [0.0], np.cumsum(terms[middle:])))

    return outwards(v), outwards(v * v)


def histogram(row: NDArray[np.float32]) -> Places:
    """Places for cuts: after every N/HISTOGRAM weights, and at each HISTOGRAM-th of the range."""
    b = np.arange(HISTOGRAM)
    low, high = np.float64(row[0]), np.float64(row[-1])
    widths = np.searchsorted(row.astype(np.float64), low + (high - low) * (b / HISTOGRAM), "right")
    return np.unique(np.concatenate((b * row.size // HISTOGRAM, widths, [row.size])))


def best_cuts(S: Float64, Q: Float64, places: Places, K: int) -> Places:
    """Equations (3) and (4): the K + 1 cuts of the best K segments."""
    J = places.size - 1
    end = places[1:]
    t = S[end] - S[0]
    D = np.concatenate(([np.inf], Q[end] - Q[0] - t * t / end))  # (2) for one level
    came_from = np.zeros((K + 1, J + 1), np.int64)
    for k in range(2, K + 1):
        best = np.full(J + 1, np.inf)
        halves(S, Q, places, D, best, came_from[k], (k, J, k - 1, J - 1))
        D = best
    cuts = [J]
    for k in range(K, 0, -1):
        cuts.append(came_from[k, cuts[-1]])
    return places[cuts[::-1]]


def halves(
    S: Float64,
    Q: Float64,
    places: Places,
    D: Float64,
    best: Float64,
    came_from: Places,
    range_of: tuple[int, int, int, int],
) -> None:
    """Equation (4): fill best and came_from for j = first ... last with i = lowest ... highest."""
    first, last, lowest, highest = range_of
    if first > last:
        return
    j = (first + last) // 2
    i = np.arange(lowest, min(j - 1, highest) + 1)
    start, end = places[i], places[j]
    t = S[end] - S[start]
    total = D[i] + (Q[end] - Q[start] - t * t / (end - start))  # (2), (3)
    cut = lowest + int(np.argmin(total))
    best[j], came_from[j] = total[cut - lowest], cut
    halves(S, Q, places, D, best, came_from, (first, j - 1, lowest, cut))
    halves(S, Q, places, D, best, came_from, (j + 1, last, cut, highest))


def lloyd(row: NDArray[np.float32], S: Float64, cuts: Places) -> Places:
    """Cuts at midpoints of the levels of the cuts, until they stay; no segment is emptied."""
    exact, K = row.astype(np.float64), cuts.size - 1
    cuts = cuts.copy()
    for _ in range(ITERATIONS):
        levels, before = means(row, S, cuts), cuts.copy()
        for k in range(1, K):
            place = np.searchsorted(exact, (levels[k - 1] + levels[k]) / 2, "right")
            cuts[k] = min(max(place, cuts[k - 1] + 1), row.size - K + k)
        if (cuts == before).all():
            break
    return cuts


def means(row: NDArray[np.float32], S: Float64, cuts: Places) -> Float64:
    """Equation (5) for every segment."""
    i, j = cuts[:-1], cuts[1:]
    return np.float64(row[row.size // 2]) + (S[j] - S[i]) / (j - i)
