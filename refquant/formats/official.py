"""The official checkpoints: which one a file is, told by its sha256, and what is known of each."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import refquant

LICENCE = "YOLOv5 and YOLOv7 code: GPL-3.0; whether that extends to weights is disputed"


def weights_folder() -> Path:
    """The folder `weights/`: part of an installed package, beside the package in a checkout."""
    try:
        return Path(str(files("refquant.weights")))
    except ModuleNotFoundError:
        return Path(refquant.__file__).parents[1] / "weights"


def known_files() -> dict[str, dict[str, Any]]:
    """File name -> {"bytes": size, "sha256": hash} of the official files that are known."""
    facts: dict[str, dict[str, Any]] = json.loads(
        (weights_folder() / "official.json").read_text(encoding="utf-8")
    )
    return facts


def official_facts(name: str) -> tuple[int | None, str | None]:
    """Size and SHA-256 of the official file of that name; None, None where they are not known."""
    facts = known_files().get(name, {})
    return facts.get("bytes"), facts.get("sha256")


def official_name(sha256: str) -> str | None:
    """The official file's name, such as "yolov7.pt"; None for any other file."""
    for name, facts in known_files().items():
        if facts["sha256"] == sha256:
            return str(name)
    return None
