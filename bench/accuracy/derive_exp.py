"""Derive the constants of ops/activation.py, which are written there by hand.

    python -m bench.accuracy.derive_exp

exp(r) = 1 + r + r**2 * P(r), |r| <= ln(2)/2. P, of degree 4, interpolates (exp(r) - 1 - r) / r**2
in the five Chebyshev nodes of that interval, in 50 digits: close to the minimax polynomial, and no
algorithm to trust. Each coefficient is then rounded to float32.
"""

import mpmath
import numpy as np

mpmath.mp.dps = 50
HALF = mpmath.log(2) / 2
DEGREE = 4


def coefficients() -> list[np.float32]:
    """P's coefficients in float32, highest power first."""
    count = DEGREE + 1
    nodes = [HALF * mpmath.cos(mpmath.pi * (2 * i + 1) / (2 * count)) for i in range(count)]
    # As a series, because the middle node is zero.
    values = mpmath.matrix([sum(r**k / mpmath.factorial(k + 2) for k in range(40)) for r in nodes])
    powers = mpmath.matrix([[r ** (DEGREE - j) for j in range(count)] for r in nodes])
    return [np.float32(str(c)) for c in mpmath.lu_solve(powers, values)]


def relative_error(exact_coefficients: list[np.float32]) -> float:
    """Largest |1 + r + r**2 P(r) - exp(r)| / exp(r) on 2001 points, evaluated without rounding."""
    worst = mpmath.mpf(0)
    for i in range(-1000, 1001):
        r = HALF * i / 1000
        p = mpmath.polyval([mpmath.mpf(float(c)) for c in exact_coefficients], r)
        worst = max(worst, abs((1 + r + r * r * p) / mpmath.exp(r) - 1))
    return float(worst)


def main() -> None:
    high = np.float32(str(mpmath.log(2)))
    low = np.float32(str(mpmath.log(2) - mpmath.mpf(float(high))))
    print("LOG2_E  ", np.float32(str(1 / mpmath.log(2))))
    print("LN2_HIGH", high, "LN2_LOW", low)
    found = coefficients()
    print("P       ", *found)
    print(f"relative error of the polynomial: {relative_error(found) * 2**24:.3f} * 2**-24")


if __name__ == "__main__":
    main()
