"""The loops of bootstrap.py, compiled: AP of many resamples. The definition is `ap_ref` there."""

import numpy as np
from numpy.typing import NDArray

from refquant.engine.jit import kernel
from refquant.study.matches import FALSE, RIGHT

EPSILON = np.spacing(1)


@kernel
def ap_of_weights(
    weights: NDArray[np.float64],  # (B, I)
    image: NDArray[np.int32],  # (D,)
    verdict: NDArray[np.int8],  # (T, D)
    start: NDArray[np.int64],  # (K + 1,)
    truths: NDArray[np.float64],  # (K, I)
    recalls: NDArray[np.float64],  # (R,)
    ap: NDArray[np.float64],  # (B,), output
) -> None:
    """Equations (1) to (5) of bootstrap.py for every row of weights."""
    T, K, R = verdict.shape[0], truths.shape[0], len(recalls)
    most = 1
    for k in range(K):
        most = max(most, start[k + 1] - start[k])
    recall, precision = np.empty(most), np.empty(most)
    for b in range(len(weights)):
        total, count = 0.0, 0
        for k in range(K):
            positives = 0.0
            for i in range(truths.shape[1]):
                positives += weights[b, i] * truths[k, i]
            if positives == 0.0:
                continue
            count += 1
            for t in range(T):
                # Only right detections are kept: between them precision falls and recall stays.
                points, right, wrong = 0, 0.0, 0.0
                for d in range(start[k], start[k + 1]):
                    if verdict[t, d] == RIGHT:
                        right += weights[b, image[d]]  # (1)
                        recall[points] = right / positives  # (3)
                        precision[points] = right / (wrong + right + EPSILON)  # (2)
                        points += 1
                    elif verdict[t, d] == FALSE:
                        wrong += weights[b, image[d]]  # (1)
                for p in range(points - 2, -1, -1):
                    precision[p] = max(precision[p], precision[p + 1])  # (4)
                p = 0
                for r in range(R):
                    while p < points and recall[p] < recalls[r]:
                        p += 1
                    if p == points:
                        break  # the rest are zeros
                    total += precision[p]  # (5)
        ap[b] = total / (T * R * count) if count else np.nan
