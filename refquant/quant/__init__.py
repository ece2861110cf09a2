"""Floor 3: quantization of raw arrays. A scheme sees rows, a granularity makes them."""

from refquant.quant.granularity import GRANULARITIES, find_granularity
from refquant.quant.recipe import quantize_model
from refquant.quant.schemes import SCHEMES, every_scheme, find_scheme
from refquant.quant.tensor import QuantizedTensor, quantize

__all__ = [
    "GRANULARITIES",
    "SCHEMES",
    "QuantizedTensor",
    "every_scheme",
    "find_granularity",
    "find_scheme",
    "quantize",
    "quantize_model",
]
