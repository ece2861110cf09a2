"""The levels of least squared error as loops: lloyd_fit.py, equation by equation, for many rows.

The operations are the same in the same order, so the bits are the same. 37 million weights in rows
of a filter and 16 levels take 20 s instead of hours.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.engine.jit import inner, kernel
from refquant.quant.lloyd_fit import HISTOGRAM, ITERATIONS

Float64 = NDArray[np.float64]


def fit_rows(x: NDArray[np.float32], K: int, exact: bool) -> Float64:
    """Levels (G, K) of sorted rows x (G, N)."""
    levels = np.empty((len(x), K))
    fit_each(x, exact, levels)
    return levels


@kernel
def fit_each(x, exact, levels):  # type: ignore[no-untyped-def]
    """Fill levels (G, K) from sorted rows x (G, N) float32."""
    K = levels.shape[1]
    for group in range(x.shape[0]):
        row = x[group]
        if distinct(row, K, levels[group]):
            continue
        places = all_places(row) if exact else histogram(row)
        S = sums(row)
        cuts = best_cuts(S[places], squares_at(row, places), places.astype(np.float64), K)
        cuts = places[cuts]
        if not exact:
            cuts = lloyd(row, S, cuts)
        means(row, S, cuts, levels[group])


@inner
def distinct(row, K, levels):  # type: ignore[no-untyped-def]
    """Whether a sorted row has at most K different weights; they are then its levels."""
    count = 0
    for n in range(row.size):
        if n == 0 or row[n] != row[n - 1]:
            if count == K:
                return False
            levels[count] = row[n]
            count += 1
    levels[count:] = levels[count - 1]
    return True


@inner
def sums(row):  # type: ignore[no-untyped-def]
    """Equation (1): S (N + 1,)."""
    N, middle = row.size, row.size // 2
    S = np.zeros(N + 1)
    for n in range(middle, N):
        S[n + 1] = S[n] + (np.float64(row[n]) - np.float64(row[middle]))
    for n in range(middle - 1, -1, -1):
        S[n] = S[n + 1] - (np.float64(row[n]) - np.float64(row[middle]))
    return S


@inner
def squares_at(row, places):  # type: ignore[no-untyped-def]
    """Equation (1): Q at ascending places alone, since all of Q would take the most memory."""
    N, middle = row.size, row.size // 2
    Q = np.zeros(places.size)
    first = np.searchsorted(places, middle)
    total, j = 0.0, first
    for n in range(middle, N + 1):
        if j < places.size and places[j] == n:
            Q[j] = total
            j += 1
        if n < N:
            v = np.float64(row[n]) - np.float64(row[middle])
            total += v * v
    total, j = 0.0, first - 1
    for n in range(middle - 1, -1, -1):
        v = np.float64(row[n]) - np.float64(row[middle])
        total -= v * v
        if j >= 0 and places[j] == n:
            Q[j] = total
            j -= 1
    return Q


@inner
def all_places(row):  # type: ignore[no-untyped-def]
    """0 ... N."""
    return np.arange(row.size + 1)


@inner
def histogram(row):  # type: ignore[no-untyped-def]
    """Places for cuts: after every N/HISTOGRAM weights, and at each HISTOGRAM-th of the range."""
    N = row.size
    places = np.empty(2 * HISTOGRAM + 1, np.int64)
    low, high = np.float64(row[0]), np.float64(row[-1])
    for b in range(HISTOGRAM):
        places[b] = b * N // HISTOGRAM
        places[HISTOGRAM + b] = first_above(row, low + (high - low) * (b / HISTOGRAM))
    places[-1] = N
    return np.unique(places)


@inner
def first_above(row, value):  # type: ignore[no-untyped-def]
    """How many weights of a sorted row are at most `value`."""
    low, high = 0, row.size
    while low < high:
        middle = (low + high) // 2
        if np.float64(row[middle]) <= value:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def best_cuts(S, Q, places, K):  # type: ignore[no-untyped-def]
    """Equations (3) and (4): the K + 1 cuts of the best K segments, as indices into places.

    S, Q, places (J + 1,) float64: the sums at the places, and the places, as numbers of one type.
    """
    J = places.size - 1
    D, best = np.full(J + 1, np.inf), np.full(J + 1, np.inf)
    came_from = np.zeros((K + 1, J + 1), np.int32)
    for j in range(1, J + 1):
        t = S[j] - S[0]
        D[j] = Q[j] - Q[0] - t * t / places[j]  # (2) for one level
    for k in range(2, K + 1):
        best[:] = np.inf
        halves(S, Q, places, D, best, came_from[k], k)
        D[:] = best
    cuts = np.empty(K + 1, np.int64)
    j = J
    for k in range(K, 0, -1):
        cuts[k] = j
        j = came_from[k, j]
    cuts[0] = 0
    return cuts


@inner
def halves(S, Q, places, D, best, came_from, k):  # type: ignore[no-untyped-def]
    """Equation (4): fill best and came_from for k segments, from D for k - 1."""
    J = places.size - 1
    # Ranges still to solve: first and last j, lowest and highest i.
    stack = np.empty((128, 4), np.int64)
    stack[0] = (k, J, k - 1, J - 1)
    size = 1
    while size:
        size -= 1
        first, last, lowest, highest = stack[size]
        j = (first + last) // 2
        # Everything of j is read once: 0.28 s instead of 0.50 s for 16 levels of 512 000 weights.
        end, S_end, Q_end = places[j], S[j], Q[j]
        winner, least = 0, np.inf
        for i in range(lowest, min(j - 1, highest) + 1):
            t = S_end - S[i]
            total = D[i] + (Q_end - Q[i] - t * t / (end - places[i]))  # (2), (3)
            if total < least:
                least, winner = total, i
        best[j], came_from[j] = least, winner
        if first < j:
            stack[size] = (first, j - 1, lowest, winner)
            size += 1
        if j < last:
            stack[size] = (j + 1, last, winner, highest)
            size += 1


@inner
def lloyd(row, S, cuts):  # type: ignore[no-untyped-def]
    """Cuts at midpoints of the levels of the cuts, until they stay."""
    levels = np.empty(cuts.size - 1)
    for _ in range(ITERATIONS):
        means(row, S, cuts, levels)
        moved = False
        for k in range(1, levels.size):
            place = first_above(row, (levels[k - 1] + levels[k]) / 2)
            place = min(max(place, cuts[k - 1] + 1), row.size - levels.size + k)
            moved = moved or place != cuts[k]
            cuts[k] = place
        if not moved:
            break
    return cuts


@inner
def means(row, S, cuts, levels):  # type: ignore[no-untyped-def]
    """Equation (5) for every segment."""
    middle = np.float64(row[row.size // 2])
    for k in range(levels.size):
        i, j = cuts[k], cuts[k + 1]
        levels[k] = middle + (S[j] - S[i]) / (j - i)
