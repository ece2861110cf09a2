"""Which of the official checkpoints a file is, told by its sha256."""

import json
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import refquant

LICENCE = "YOLOv5 and YOLOv7 code: GPL-3.0; whether that extends to weights is disputed"


def weights_folder() -> Traversable:
    """The folder `weights/`: part of an installed package, beside the package in a checkout."""
    try:
        return files("refquant.weights")
    except ModuleNotFoundError:
        return Path(refquant.__file__).parents[1] / "weights"


def official_name(sha256: str) -> str | None:
    """The official file's name, such as "yolov7.pt"; None for any other file."""
    known = json.loads((weights_folder() / "official.json").read_text(encoding="utf-8"))
    for name, facts in known.items():
        if facts["sha256"] == sha256:
            return str(name)
    return None
