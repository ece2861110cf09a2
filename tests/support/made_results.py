"""The results of a study that nobody ran: configurations with the AP that a test wants."""

from refquant.detection.score import NUMBERS
from refquant.study.configurations import FLOAT
from refquant.study.results import Measured, assembled

SIZES = {
    "bytes": dict.fromkeys(("fp32", "fp16", "nominal", "packed", "entropy", "file"), 8),
    "ratios": {w: {"fp32": 2.0, "fp16": 1.0} for w in ("nominal", "packed", "entropy", "file")},
    "groups": 1,
    "bits_per_weight": {"nominal": 4.0, "packed": 4.0},
    "predicted_db": -20.0,
    "layers": [{"name": "a", "weights": 4, "sqnr_db": 20.0, "granularity": "filter"}],
}


def ap(value, spread=0.0):
    """An evaluation with two replicates around its AP."""
    rest = {"per_class": {}, "detections": 1, "predictions_sha256": ""}
    return dict.fromkeys(NUMBERS, value) | rest | {"replicates": [value - spread, value + spread]}


def results_of(aps, official=None, data="instances_val2017", images=5000):
    """results.json of configurations with these (name, AP, spread)."""
    facts = {
        "model": {"name": "m", "official": official, "parameters": 1},
        "data": {"name": data, "images": images},
    }
    records = [Measured(FLOAT, SIZES, ap(0.5))]
    records += [Measured(c, SIZES, ap(value, spread)) for c, value, spread in aps]
    return assembled(facts, records)
