"""`warmup`: everything compiled that a forward pass needs, by running one of the smallest size."""

from typing import NamedTuple

import numpy as np


class Warm(NamedTuple):
    """compiled: whether something had to be; cache: the folder that keeps it, "" for none."""

    compiled: bool
    cache: str
    cpu: str


def warmup() -> Warm:
    """Compile the kernels, or load them where that was done before."""
    from refquant.engine.conv_fast import conv_fast
    from refquant.engine.native import code_of
    from refquant.engine.program import WORK
    from refquant.engine.tiles import cpu_compiled_for

    conv_fast(np.zeros((1, 1, 1, 1), np.float32), np.zeros((1, 1, 1, 1), np.float32))
    code = code_of(*WORK)
    return Warm(code.compiled, code.folder, cpu_compiled_for().split(",")[0])
