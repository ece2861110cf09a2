"""Convolutions by other algorithms than direct sums, in float32: what `--algorithm any` allows.

    Winograd F(m,3)  Y = A^T [sum over c of (G w_c G^T) * (B^T x_c B)] A  for every tile of m x m
                     outputs, of which x_c holds the m + 2 x m + 2 inputs                   (1)
    FFT              Y = inverse of (sum over c of F x_c * conj(F w_c)), F the discrete Fourier
                     transform over the whole padded map, here as products with its matrix  (2)

x (N, C, H, W) and w (F, C, R, S) float32; the result is (N, F, P, Q) float32. These are legitimate
variants for evidence (variants.py), not definitions: products are float32 (complex64), in whatever
order the BLAS takes; their distance from the exact result is what is wanted of them.

Source: Lavin and Gray 2015, arXiv:1509.09308, section 4; F(2,3) and F(4,3) with their points.
"""

import math

import numpy as np
from numpy.typing import NDArray

from refquant.ops.conv import pad

Float32 = NDArray[np.float32]
MOST_SPECTRA = 1 << 24  # complex numbers, 128 MiB; F(4,3) is less exact than an FFT anyway
ALGORITHMS = ("winograd2", "winograd4", "fft")

# m -> (B^T, G, A^T) of F(m,3).
TRANSFORMS = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
        ],
        [
            [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}  # fmt: skip


def applies(algorithm: str, x: Float32, w: Float32, stride: int) -> bool:
    """Whether it can be used here: Winograd for 3x3 alone, FFT while the spectra are few."""
    if algorithm != "fft":
        return stride == 1 and w.shape[2:] == (3, 3)
    spectra = math.prod(w.shape[:2]) * math.prod(x.shape[2:])
    return stride == 1 and w.shape[2:] != (1, 1) and spectra <= MOST_SPECTRA


def convolved_by(algorithm: str, x: Float32, w: Float32, padding: int) -> Float32:
    """The sum of products, stride 1, by one of ALGORITHMS."""
    x = pad(x, padding)
    return fft(x, w) if algorithm == "fft" else winograd(x, w, int(algorithm[-1]))


def winograd(x: Float32, w: Float32, m: int) -> Float32:
    """Equation (1); x is padded already."""
    B, G, A = (np.array(matrix, np.float32) for matrix in TRANSFORMS[m])
    N, C, H, W = x.shape
    P, Q = H - 2, W - 2
    rows, columns = -(-P // m), -(-Q // m)
    x = np.pad(x, ((0, 0), (0, 0), (0, rows * m - P), (0, columns * m - Q)))
    tiles = np.lib.stride_tricks.sliding_window_view(x, (m + 2, m + 2), axis=(2, 3))
    V = B @ tiles[:, :, ::m, ::m] @ B.T  # (N, C, rows, columns, m + 2, m + 2)
    U = G @ w @ G.T  # (F, C, m + 2, m + 2)
    V = V.transpose(4, 5, 1, 0, 2, 3).reshape((m + 2) ** 2, C, -1)
    U = U.transpose(2, 3, 0, 1).reshape((m + 2) ** 2, len(w), C)
    M = (U @ V).reshape(m + 2, m + 2, len(w), N, rows, columns).transpose(3, 2, 4, 5, 0, 1)
    Y = (A @ M @ A.T).transpose(0, 1, 2, 4, 3, 5).reshape(N, len(w), rows * m, columns * m)
    return np.ascontiguousarray(Y[:, :, :P, :Q])


def fft(x: Float32, w: Float32) -> Float32:
    """Equation (2); x is padded already."""
    (N, C, H, W), (F, _, R, S) = x.shape, w.shape
    by_row, by_column = dft(H), dft(W)
    X = by_row @ x.astype(np.complex64) @ by_column.T
    K = by_row[:, :R] @ w.astype(np.complex64) @ by_column[:, :S].T
    X = X.transpose(2, 3, 1, 0).reshape(H * W, C, N)
    K = K.conj().transpose(2, 3, 0, 1).reshape(H * W, F, C)
    Y = (K @ X).reshape(H, W, F, N).transpose(3, 2, 0, 1)
    y = by_row.conj() @ Y @ by_column.conj().T / np.float32(H * W)
    return np.ascontiguousarray(y.real[:, :, : H - R + 1, : W - S + 1].astype(np.float32))


def dft(n: int) -> NDArray[np.complex64]:
    """The matrix of the discrete Fourier transform of n points."""
    k = np.arange(n)
    return np.exp(-2j * np.pi * (np.outer(k, k) % n) / n).astype(np.complex64)
