"""Whether this thread treats subnormal numbers as zero, which would change bits.

CPUs have two switches that another library in the process may have set for speed; one that was
compiled with -ffast-math may do so as soon as it is imported. FTZ makes a subnormal result 0, and
DAZ makes a subnormal operand 0. The switches belong to a thread, and a new thread inherits those
of the thread that made it. NumPy computes with the same switches as everything else, so it can
see them:

    2**-126 * 0.5    is 2**-127, and 0 under FTZ                                 (1)
    2**-149 * 2**100 is 2**-49,  and 0 under DAZ                                 (2)
"""

import warnings

import numpy as np


def flushed() -> tuple[str, ...]:
    """Which of "FTZ" and "DAZ" are switched on in this thread."""
    least_normal = np.array([2.0**-126], np.float32)
    least = np.array([1], np.int32).view(np.float32)
    with np.errstate(under="ignore"):
        results = {
            "FTZ": least_normal * np.float32(0.5),  # (1)
            "DAZ": least * np.float32(2.0**100),  # (2)
        }
    return tuple(name for name, y in results.items() if y.view(np.int32)[0] == 0)


def warn_if_flushed() -> None:
    """Warn if results of this thread may differ from the defined bits."""
    if flushed():
        warnings.warn(
            f"flush-to-zero is on in this process ({' and '.join(flushed())}, set by another "
            "library): subnormal numbers become 0, and results may differ from refquant's defined "
            "bits: run refquant in a process without that library",
            RuntimeWarning,
            stacklevel=3,
        )
