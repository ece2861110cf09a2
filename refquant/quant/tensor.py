"""`quantize`: a weight becomes a QuantizedTensor, which knows what it stores and decodes to.

w           (F, C, R, S) float32, all finite
codes       (G, N) uint8 or uint16, rows as the granularity makes them
params      name -> (G, columns) array, as the scheme declares

    codes, params = scheme.encode(granularity.to_rows(w), bits)                  (1)
    w_hat = granularity.from_rows(scheme.dequantize(codes, params, bits))        (2)
    nbytes = ceil(G * N * code_bits / 8) + bytes of params                       (3)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from refquant.arrays.errors import BadInput
from refquant.arrays.packed import LARGEST_ZERO_POINT, PackedWeights, pack_weights
from refquant.quant.granularity import Granularity, find_granularity
from refquant.quant.scheme import Scheme, check_bits
from refquant.quant.schemes import find_scheme
from refquant.quant.tensor_check import check_params_dtype, check_parts, checked_weight


@dataclass(frozen=True)
class QuantizedTensor:
    """A quantized weight: codes, parameters, and the names that say how to decode them.

    Every field is checked when a tensor is made, since files make tensors too.

    Parameters
    ----------
    codes : ndarray
        (G, N) uint8, or uint16 where a code has more than 8 bits: one row per group.
    params : mapping of str to ndarray
        The parameters of every group, (G, columns), under the names that the scheme declares.
    scheme : str
        The full name of a scheme, such as ``"affine"`` or ``"affine:minmax"``.
    granularity : str
        The name of a granularity, such as ``"filter"`` or ``"axes:F,R"``.
    bits : int
        The width that was asked for, 2 to 8; `code_bits` is the width of a stored code.
    shape : tuple of int
        (F, C, R, S): filters, channels, rows and columns of the kernel.

    Raises
    ------
    BadInput
        If a name is unknown, or if the parts do not fit each other.

    Examples
    --------
    Two filters of three weights, each with a scale (4 bytes) and a zero point (1 byte) of its own:

    >>> import numpy as np
    >>> from refquant import quantize
    >>> w = np.array([-1, 2, 14, 0, 3, 15], np.float32).reshape(2, 3, 1, 1)
    >>> tensor = quantize(w, scheme="affine", granularity="filter", bits=4)
    >>> tensor.codes.tolist()
    [[0, 3, 15], [0, 3, 15]]
    >>> {name: array.ravel().tolist() for name, array in tensor.params.items()}
    {'scale': [1.0, 1.0], 'zero_point': [1, 0]}
    >>> tensor.code_bits, tensor.codes_nbytes, tensor.params_nbytes, tensor.nbytes
    (4, 3, 10, 13)
    >>> tensor.size, round(tensor.bits_per_weight, 2)
    (6, 17.33)
    >>> tensor.rules.name, tensor.grouping.axes
    ('affine', 'F')
    """

    codes: np.ndarray
    params: Mapping[str, np.ndarray]
    scheme: str
    granularity: str
    bits: int
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        check_parts(self.codes, self.params, self.scheme, self.granularity, self.bits, self.shape)

    @property
    def rules(self) -> Scheme:
        """The scheme itself: the functions that encode and decode."""
        return find_scheme(self.scheme)

    @property
    def grouping(self) -> Granularity:
        """The granularity itself: which weights are in a row."""
        return find_granularity(self.granularity)

    @property
    def code_bits(self) -> int:
        """Bits of a stored code: `bits`, or one more for the piecewise linear schemes."""
        return self.rules.code_bits(self.bits)

    @property
    def codes_nbytes(self) -> int:
        """Bytes of the packed codes."""
        return -(-self.codes.size * self.code_bits // 8)

    @property
    def params_nbytes(self) -> int:
        """Bytes of the parameters."""
        return sum(array.nbytes for array in self.params.values())

    @property
    def nbytes(self) -> int:
        """Bytes stored: packed codes and parameters, equation (3)."""
        return self.codes_nbytes + self.params_nbytes

    @property
    def size(self) -> int:
        """The number of weights."""
        return math.prod(self.shape)

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per weight, with those of the parameters."""
        return 8 * self.nbytes / self.size

    def rows(self) -> np.ndarray:
        """Decode the codes, row by row.

        Returns
        -------
        ndarray
            (G, N) float32, one row per group.

        Raises
        ------
        BadInput
            If the parameters decode to numbers that float32 cannot hold.

        Examples
        --------
        >>> w = np.array([-1, 2, 14, 0, 3, 15], np.float32).reshape(2, 3, 1, 1)
        >>> quantize(w, granularity="filter").rows().tolist()
        [[-1.0, 2.0, 14.0], [0.0, 3.0, 15.0]]
        """
        rows = self.rules.decode(self.codes, self.params, self.bits)
        if not np.isfinite(rows).all():
            raise BadInput("params", "decode to numbers that float32 cannot hold")
        return rows

    def dequantize(self) -> np.ndarray:
        """Decode the weight, equation (2).

        Returns
        -------
        ndarray
            (F, C, R, S) float32; parameters that do not decode to such numbers are refused.

        Examples
        --------
        >>> w = np.array([-1, 2, 14, 0, 3.4, 15], np.float32).reshape(2, 3, 1, 1)
        >>> quantize(w, granularity="filter").dequantize().reshape(2, 3).tolist()
        [[-1.0, 2.0, 14.0], [0.0, 3.0, 15.0]]
        """
        return self.grouping.from_rows(self.rows(), self.shape)

    def packed(self) -> PackedWeights:
        """Pack the codes as kernels take them; the result decodes to the same bits.

        Returns
        -------
        PackedWeights
            The codes with a scale and a zero point per group, or with a table of levels where
            the scheme has none or a zero point is too large.

        Examples
        --------
        >>> tensor = quantize(np.ones((2, 3, 1, 1), np.float32))
        >>> bool((tensor.packed().dequantize() == tensor.dequantize()).all())
        True
        """
        codes, G = self.grouping.from_rows(self.codes, self.shape), len(self.codes)
        block = self.codes.shape[1] if self.grouping.block else 0
        width, axes = self.code_bits, self.grouping.axes
        if self.rules.affine_map is not None:
            scale, zero_point = (m[:, 0] for m in self.rules.affine_map(self.params, self.bits))
            if abs(zero_point.astype(np.int64)).max() < LARGEST_ZERO_POINT:
                return pack_weights(codes, width, axes, block, scale=scale, zero_point=zero_point)
        every = np.arange(2**width, dtype=self.codes.dtype)
        levels = self.rules.decode(np.broadcast_to(every, (G, every.size)), self.params, self.bits)
        return pack_weights(codes, width, axes, block, levels=levels)

    def error_bound(self) -> np.ndarray:
        """Bound the error of every group, without the float weights.

        Returns
        -------
        ndarray
            (G, 1) float64, in units of the weights: no weight between the lowest and the highest
            level of its group is decoded farther off. Infinite with bias correction.

        Examples
        --------
        The scale is 1, so the bound is 1/2 and what rounding to float32 can add to it:

        >>> w = np.array([-1, 2, 14], np.float32).reshape(1, 3, 1, 1)
        >>> quantize(w).error_bound().round(5).tolist()
        [[0.5]]
        """
        return self.rules.error_bound(None, self.params, self.bits)


def quantize(
    w: np.ndarray,
    *,
    scheme: str | Scheme = "affine",
    granularity: str | Granularity = "filter",
    bits: int = 4,
    params_dtype: str = "float32",
    name: str = "weight",
) -> QuantizedTensor:
    """Quantize the weight of a convolution.

    The granularity makes rows of the weights that share parameters; the scheme gives every row
    its parameters, and every weight a code.

    Parameters
    ----------
    w : ndarray
        (F, C, R, S) of a floating type: filters, channels, rows and columns of the kernel. It is
        rounded to float32 first, and it is not changed.
    scheme : str or Scheme, default "affine"
        How a row becomes codes: ``"affine"``, ``"symmetric"``, ``"pwlq"`` ..., an option behind
        a colon (``"affine:mse"``), and bias correction behind that (``"affine:mse+bc"``).
    granularity : str or Granularity, default "filter"
        Which weights share parameters and make a row: ``"layer"``, ``"filter"``, ``"channel"``,
        ``"f-shape"``, ``"c-shape"``, ``"block-64"``, or any axes, ``"axes:F,R"``.
    bits : int, default 4
        The width of a code, 2 to 8; piecewise linear schemes store one bit more.
    params_dtype : str, default "float32"
        The type of parameters in units of the weights, ``"float32"`` or ``"float16"``.
    name : str, default "weight"
        What an error calls the weight, such as the name of its layer.

    Returns
    -------
    QuantizedTensor
        The codes and parameters; its `dequantize` gives the weight that they stand for.

    Raises
    ------
    BadInput
        If w is not such a weight, or has NaN, inf or a magnitude above 2**126; if there is no
        such scheme, granularity, width or type; if a parameter does not fit its type.

    References
    ----------
    .. [1] Jacob et al. 2018, "Quantization and training of neural networks for efficient
       integer-arithmetic-only inference", arXiv:1712.05877, equation 1.
    .. [2] Baghbanbashi et al. 2023, arXiv:2407.04943, for the schemes and granularities compared.

    Examples
    --------
    The range is 15, so the scale is 1; 0.5 and 1.5 are ties and go to the even code:

    >>> import numpy as np
    >>> from refquant import quantize
    >>> w = np.array([-1, 0, 0.5, 1.5, 2.75, 14], np.float32).reshape(1, 6, 1, 1)
    >>> tensor = quantize(w, scheme="affine", granularity="filter", bits=4)
    >>> tensor.codes.tolist()
    [[0, 1, 1, 3, 4, 15]]
    >>> tensor.dequantize().ravel().tolist()
    [-1.0, 0.0, 0.0, 2.0, 3.0, 14.0]
    >>> tensor.nbytes
    8
    """
    bits = check_bits(bits)
    scheme, granularity = find_scheme(scheme), find_granularity(granularity)
    check_params_dtype(params_dtype)
    rows = granularity.to_rows(checked_weight(w, name))
    params, codes = scheme.encode(rows, bits, params_dtype)  # (1)
    return QuantizedTensor(codes, params, scheme.name, granularity.name, bits, w.shape)
