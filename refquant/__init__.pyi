# The public names for type checkers and editors; "as" marks the names that are given on.
from refquant.arrays.errors import BadInput as BadInput
from refquant.auditing.audit import audit as audit
from refquant.detection.dataset import find_dataset as find_dataset
from refquant.detection.dataset import read_dataset as read_dataset
from refquant.detection.evaluate import evaluate as evaluate
from refquant.detection.predict import detect as detect
from refquant.engine.walk import walk as walk
from refquant.formats.catalogue import load_model as load_model
from refquant.formats.catalogue import save_model as save_model
from refquant.quant.recipe import quantize_model as quantize_model
from refquant.quant.tensor import QuantizedTensor as QuantizedTensor
from refquant.quant.tensor import quantize as quantize
from refquant.verification.golden.record import record_golden as record_golden
from refquant.verification.verify import verify as verify

__version__: str
__all__ = [
    "BadInput",
    "QuantizedTensor",
    "__version__",
    "audit",
    "detect",
    "evaluate",
    "find_dataset",
    "load_model",
    "quantize",
    "quantize_model",
    "read_dataset",
    "record_golden",
    "save_model",
    "verify",
    "walk",
]
