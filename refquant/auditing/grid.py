"""The grid: float weights are quantized in every way, measured, and forgotten again.

There is a record per scheme, granularity and number of bits: the totals of audit.py over all
layers, and the row of every layer. Layers are quantized one at a time, so the memory of one layer
is enough.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.auditing.audit import audit_layer, total_of
from refquant.auditing.rows import GridAudit, LayerAudit
from refquant.graph.graph import Model
from refquant.quant.granularity import find_granularity
from refquant.quant.scheme import check_bits
from refquant.quant.schemes import find_scheme
from refquant.quant.tensor import quantize

Weights = Mapping[str, NDArray[np.float32]]
Map = Callable[..., Iterable[Any]]


def weights_of(model: Model) -> Weights:
    """The float weights of a model's convolutions by name."""
    weights = {
        node.name: node.arrays["weight"]
        for node in model.nodes
        if node.op == "conv" and isinstance(node.arrays["weight"], np.ndarray)
    }
    if not weights:
        raise BadInput("model", "has no float weights", "a grid starts from a float model")
    return weights


def grid(
    weights: Weights,
    schemes: Iterable[str],
    granularities: Iterable[str],
    bits: Iterable[int],
    *,
    params_dtype: str = "float32",
    map_layers: Map = map,
) -> Iterator[GridAudit]:
    """A record for every scheme, granularity and width, in this order; names are checked first.

    map_layers   `map`, or the `map` of an executor; the records do not depend on it
    """
    names = [find_scheme(scheme).name for scheme in schemes]
    kept = [find_granularity(granularity).name for granularity in granularities]
    widths = [check_bits(width) for width in bits]

    for scheme, granularity, width in product(names, kept, widths):
        way = {"scheme": scheme, "granularity": granularity, "bits": width}
        row_of = partial(audit_way, way={**way, "params_dtype": params_dtype})
        rows = list(map_layers(row_of, weights.items()))
        yield GridAudit(
            scheme=scheme,
            granularity=granularity,
            bits=width,
            axes=rows[0].axes,
            code_bits=rows[0].code_bits,
            total=total_of(rows),
            rows=tuple(rows),
        )


def audit_way(item: tuple[str, NDArray[np.float32]], way: Mapping[str, Any]) -> LayerAudit:
    """One layer (name, weight), quantized in one way and measured."""
    name, w = item
    return audit_layer(name, quantize(w, name=name, **way), w)
