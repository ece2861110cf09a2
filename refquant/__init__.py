"""refquant: the golden reference for YOLOv7 and for the quantization of its weights.

These are the public names. Each is imported when it is first used, so that `refquant --help` is
instant. `help(refquant.detect)`, for one, says what it takes and gives, with an example.

    load_model, save_model                  models from and to files
    walk                                    run a model node by node
    detect                                  detections in an image
    find_dataset, read_dataset, evaluate    average precision on a data set
    quantize, quantize_model, QuantizedTensor
    audit                                   what quantization did to weights
    record_golden, verify                   is another implementation right?
    BadInput                                the error that bad input raises: one line
"""

from importlib import import_module
from typing import Any

from refquant._version import __version__

_HOMES = {
    "BadInput": "refquant.arrays.errors",
    "walk": "refquant.engine.walk",
    "load_model": "refquant.formats.catalogue",
    "save_model": "refquant.formats.catalogue",
    "detect": "refquant.detection.predict",
    "find_dataset": "refquant.detection.dataset",
    "read_dataset": "refquant.detection.dataset",
    "evaluate": "refquant.detection.evaluate",
    "quantize": "refquant.quant.tensor",
    "QuantizedTensor": "refquant.quant.tensor",
    "quantize_model": "refquant.quant.recipe",
    "audit": "refquant.auditing.audit",
    "record_golden": "refquant.verification.golden.record",
    "verify": "refquant.verification.verify",
}

__all__ = ["__version__", *_HOMES]  # `__init__.pyi` has the same names for type checkers


def __dir__() -> list[str]:
    """List the public names, those too that are not imported yet."""
    return [*__all__]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'refquant' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
