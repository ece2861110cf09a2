"""The folder of a study: what is done is on disk, and found again by what it is of.

    study.json                       what the folder is of: model, data, protocol (their hashes)
    state/<name>.<key>.sizes.json    sizes and errors of a configuration
    state/<name>.<key>.ap.json       average precision and its replicates
    state/<name>.<key>.log           images done so far (detection/run_log.py); goes when all are
    predictions/<name>.<key>.json.gz the detections as COCO results
    results.json, results.csv, report.html, report.md, plots/    made from these, at any time

key = the first 16 digits of SHA-256 over study.json and the configuration                  (1)

So nothing that was computed for another model, data set, protocol or version is ever taken for
this one's. Files appear whole or not at all; a .json of state/ that is not as it was written (a
foreign hand, a dying disk) is computed again. Predictions are for readers: nothing is computed
from them, and ap.json has their SHA-256. A folder of another study is refused, not overwritten.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refquant._version import __version__
from refquant.arrays.atomic import atomic_path
from refquant.arrays.errors import BadInput
from refquant.detection.dataset import DataSet
from refquant.study.configurations import Configuration

FORMAT = "refquant study"
FORMAT_VERSION = 1


class Store:
    """A study's folder, made or continued; BadInput if it is of another study."""

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.identity = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "refquant": __version__,
            **identity,
        }
        try:
            for name in ("state", "predictions"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(folder, f"cannot be a folder ({error.strerror})") from error
        check_identity(self.folder / "study.json", self.identity)

    def key(self, configuration: Configuration) -> str:
        """Equation (1)."""
        text = json.dumps([self.identity, configuration], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def path(self, configuration: Configuration, kind: str) -> Path:
        """The file of that kind: sizes.json, ap.json, log, or json.gz for predictions."""
        folder = self.folder / ("predictions" if kind == "json.gz" else "state")
        return folder / f"{configuration.slug}.{self.key(configuration)}.{kind}"

    def load(self, configuration: Configuration, kind: str) -> dict[str, Any] | None:
        """What `save` wrote; None if it is not there or not whole."""
        try:
            found = json.loads(self.path(configuration, kind).read_bytes())
            content = json.dumps(found["content"], sort_keys=True)
            whole = hashlib.sha256(content.encode()).hexdigest() == found["sha256"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return found["content"] if whole else None

    def save(self, configuration: Configuration, kind: str, content: Mapping[str, Any]) -> None:
        """Write an object with its hash."""
        text = json.dumps(content, sort_keys=True, allow_nan=False)
        record = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "content": content}
        write_text(self.path(configuration, kind), json.dumps(record))

    def save_predictions(
        self, configuration: Configuration, results: Sequence[Mapping[str, Any]]
    ) -> str:
        """Write detections as COCO results, compressed; the SHA-256 of the JSON text."""
        text = json.dumps(results).encode()
        with atomic_path(self.path(configuration, "json.gz")) as temporary:
            temporary.write_bytes(gzip.compress(text, 6, mtime=0))
        return hashlib.sha256(text).hexdigest()


def check_identity(path: Path, identity: Mapping[str, Any]) -> None:
    """Write study.json where there is none; refuse one of another study."""
    if not path.exists():
        write_text(path, json.dumps(identity, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(path, "is not the record of a study", "choose another folder with -o")
    other = [key for key in identity if found.get(key) != identity[key]]
    if other:
        raise BadInput(
            path.parent,
            f"holds another study (differs in: {', '.join(other)})",
            "choose another folder with -o",
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def data_sha256(dataset: DataSet) -> str:
    """SHA-256 of what decides about a data set's scores: records, and every byte of its images."""
    records = [dataset.images, dataset.truths, dataset.categories]
    total = hashlib.sha256(json.dumps(records).encode())
    for image in dataset.images:
        path = dataset.folder / image.file_name
        try:
            with path.open("rb") as stream:
                total.update(hashlib.sha256(stream.read()).digest())
        except OSError as error:
            raise BadInput(path, f"cannot be read ({error.strerror})") from error
    return total.hexdigest()
