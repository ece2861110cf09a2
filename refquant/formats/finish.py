"""The last steps of reading a model of any format: its maps are checked, it is folded and rounded.

A stranger's numbers may be anything: NaN, infinite, or too large once they are multiplied. They
are not refused here, since a model is what its file says (model_check.py), and nothing warns of
them in the middle of a computation; whoever works with them refuses them by name.
"""

from typing import Any

import numpy as np

from refquant.formats.maps import check_maps
from refquant.graph.fold import fold as folded
from refquant.graph.graph import Model, cast


def finish(model: Model, where: object, fold: bool, dtype: Any = np.float32) -> Model:
    """The model checked, folded if `fold`, arrays rounded to dtype; `where` is for messages."""
    check_maps(model, where)
    with np.errstate(all="ignore"):
        if fold:
            return folded(model, dtype)
        return model.with_nodes(tuple(cast(node, dtype) for node in model.nodes))
