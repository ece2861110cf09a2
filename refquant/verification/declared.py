"""What the other side declares about its arithmetic: the hypotheses of every verdict.

    H1  direct inner products in any order, with or without fma, round to nearest     algorithm
    H2  no overflow where the sum of magnitudes does not overflow
    H3  the types in which values are stored and sums accumulated                     storage, ...
    H4  the decomposition: batch norms, branches and implicit layers folded or not    folded
    H5  |sigmoid^ - sigmoid| <= absolute + relative * u * sigmoid                      sigmoid
    H6  the tensors given are those that were used, and the weights are the golden's

"Wrong" is a theorem under them, so they are printed with it. u is the unit roundoff, half the
distance of 1 to the next number; `tiny` is half of the smallest subnormal.
"""

from typing import NamedTuple

from refquant.arrays.errors import BadInput
from refquant.arrays.table import Table


class FloatType(NamedTuple):
    """A floating type: unit roundoff, half its smallest subnormal, its largest number."""

    name: str
    u: float
    tiny: float
    largest: float


# tf32 has float32's exponents; truncating tensor cores round towards zero: u is a whole distance.
FLOAT_TYPES = Table(
    "type",
    (
        FloatType("float32", 2.0**-24, 2.0**-150, 3.4028234663852886e38),
        FloatType("float16", 2.0**-11, 2.0**-25, 65504.0),
        FloatType("bfloat16", 2.0**-8, 2.0**-134, 3.3895313892515355e38),
        FloatType("tf32", 2.0**-11, 2.0**-137, 3.4011621342146535e38),
        FloatType("float32-truncated", 2.0**-23, 2.0**-149, 3.4028234663852886e38),
    ),
)
ALGORITHMS = ("direct", "any")
UNDERFLOW = 2.0**-126  # below it, a flushing unit gives zero


class Declared(NamedTuple):
    """What the other side declares about its arithmetic.

    The defaults are a plain float32 implementation of the folded network. A wider declaration
    excuses more, so less is found.

    Parameters
    ----------
    storage : str, default "float32"
        The type in which tensors and weights are stored: float32, float16, bfloat16, tf32 or
        float32-truncated.
    accumulator : str, default "float32"
        The type in which sums are accumulated, one of the same.
    algorithm : str, default "direct"
        "direct" sums in any order; with "any" Winograd F(2,3) and F(4,3) and FFT are allowed too.
    folded : bool, default True
        Whether the weights are the golden's own; False where each side folded batch norms,
        branches and implicit layers by itself, or did not.
    flush : bool, default False
        Whether subnormal numbers may be flushed to zero, going in and coming out.
    sigmoid : tuple of float, default (2**-21, 4)
        The error of its sigmoid: absolute, and relative in units of u * sigmoid, where u is the
        unit roundoff. The numerics of onnxruntime need an absolute 1.5e-7.

    Examples
    --------
    >>> from refquant.verification.declared import Declared
    >>> declared = Declared(storage="float16", accumulator="float32")
    >>> declared.hypotheses()["H3"]
    'stored as float16, accumulated in float32'
    """

    storage: str = "float32"
    accumulator: str = "float32"
    algorithm: str = "direct"
    folded: bool = True
    flush: bool = False
    sigmoid: tuple[float, float] = (2.0**-21, 4.0)

    def checked(self) -> "Declared":
        """Return itself where every name is known and every number can be a bound.

        Returns
        -------
        Declared
            Itself.

        Raises
        ------
        BadInput
            A name is unknown, or a number is no bound.
        """
        FLOAT_TYPES[self.storage], FLOAT_TYPES[self.accumulator]
        if self.algorithm not in ALGORITHMS:
            raise BadInput(f"algorithm={self.algorithm!r}", f"choose {' | '.join(ALGORITHMS)}")
        if not all(0 <= value < 1e6 for value in self.sigmoid):
            raise BadInput(f"sigmoid={self.sigmoid}", "two numbers of at least 0")
        return self

    @property
    def stored(self) -> FloatType:
        """The type of `storage`."""
        return FLOAT_TYPES[self.storage]

    @property
    def summed(self) -> FloatType:
        """The type of `accumulator`."""
        return FLOAT_TYPES[self.accumulator]

    @property
    def u(self) -> float:
        """Unit roundoff of an operation outside of sums: the coarser of the two."""
        return max(self.stored.u, self.summed.u)

    def hypotheses(self) -> dict[str, str]:
        """Return H1 to H6 in words.

        Returns
        -------
        dict of str to str
            The hypotheses by their names.
        """
        absolute, relative = self.sigmoid
        any_way = "direct sums, Winograd F(2,3) or F(4,3), or FFT"
        folded = "batch norms, branches and implicit layers are folded, as in the golden"
        flushed = "; subnormal numbers may be flushed to zero" if self.flush else ""
        return {
            "H1": ("direct sums in any order" if self.algorithm == "direct" else any_way)
            + (", sums cut off" if "truncated" in self.accumulator else ", round to nearest"),
            "H2": "no overflow where sums of magnitudes do not overflow" + flushed,
            "H3": f"stored as {self.storage}, accumulated in {self.accumulator}",
            "H4": folded if self.folded else "folded elsewhere or not folded",
            "H5": f"|sigmoid error| <= {absolute:.3g} + {relative:g} u * sigmoid",
            "H6": "the tensors given are those that were used; weights and input are the golden's",
        }


PLAIN = Declared(flush=True)  # the arithmetic of rule (14) in verdict.py, whatever is declared
