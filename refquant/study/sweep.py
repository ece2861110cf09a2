"""The study: every configuration measured and evaluated, in order, each of them once for good.

    1  sizes and errors of every configuration, which need no image     measure.py
    2  float32 first, then the configurations in the order given:
       quantize, detect on every image, judge                           detection/evaluate.py
       AP of the same resampled sets of images for every configuration  bootstrap.py
    3  losses, intervals, Pareto fronts, claims                         results.py

Every step is on disk as soon as it is done (store.py), an evaluation after each image, so a study
that was ended at any point, by any means, goes on from there, and ends with the same results.json,
byte for byte. The order, the workers and the interruptions decide nothing.

Replicates  Resample b draws the same images for every configuration, so the difference of two
            replicates is one resampled difference, and any pair is compared without counting anew.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refquant.arrays.errors import BadInput
from refquant.detection.dataset import DataSet, match_classes
from refquant.detection.evaluate import evaluate, protocol_of
from refquant.detection.run_log import model_sha256
from refquant.detection.score import NUMBERS
from refquant.formats.hdf5.store import ARITHMETIC_VERSION
from refquant.formats.official import official_name
from refquant.graph.graph import Model
from refquant.study.bootstrap import RESAMPLES, average_precision, drawn
from refquant.study.configurations import FLOAT, Configuration
from refquant.study.matches import matches_of
from refquant.study.measure import measure, quantized
from refquant.study.results import Measured, assembled
from refquant.study.store import Store, data_sha256

CONF, IOU, MOST = 0.001, 0.65, 300  # of detections: thresholds, and boxes kept per image

# (what is being done, configurations done, configurations in all, images done, images in all)
Progress = Callable[[str, int, int, int, int], None]
After = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Work:
    """How the work is done; nothing of it decides about a result.

    threads    of one forward pass, in whatever process it runs
    executor   any of concurrent.futures; without one the images run one by one here
    scratch    a folder that the executor's workers can read, for the models
    progress   is called after every image and configuration
    after      is called with the results so far after every configuration that was evaluated
    """

    threads: int = 1
    executor: Executor | None = None
    scratch: str | os.PathLike[str] | None = None
    progress: Progress = lambda *_: None
    after: After = lambda _: None


def study(
    model: Model,
    dataset: DataSet,
    folder: str | os.PathLike[str],
    configurations: Sequence[Configuration],
    *,
    protocol: str = "square",
    size: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    work: Work | None = None,
) -> dict[str, Any]:
    """The results of a study (results.py), kept in `folder`, continued if it was begun there."""
    check(model, dataset)
    check_draws(dataset, resamples, seed)
    side = model.input_size if size is None else size
    rules = {"protocol": protocol, "size": side, "conf": CONF, "iou": IOU, "max_detections": MOST}
    settings = {
        "protocol": asdict(protocol_of(protocol, side, CONF, IOU, None, MOST, None)),
        "bootstrap": {"resamples": resamples, "seed": seed},
    }
    identity = {
        "arithmetic": ARITHMETIC_VERSION,
        "model": model_sha256(model),
        "data": data_sha256(dataset),
        **settings,
    }
    sweep = Sweep(model, dataset, Store(folder, identity), rules, settings, work or Work())
    return sweep.run([FLOAT, *(c for c in configurations if c != FLOAT)])


def check(model: Model, dataset: DataSet) -> None:
    """Refuse early what would be refused late."""
    match_classes(model.class_names, dataset)
    if not any(not truth.iscrowd for truth in dataset.truths):
        raise BadInput(dataset.name, "has no true boxes", "a study needs some to find")


def check_draws(dataset: DataSet, resamples: int, seed: int) -> None:
    """Refuse resamples of which no interval could be made, before the work and not after it."""
    with_boxes = {truth.image_id for truth in dataset.truths if not truth.iscrowd}
    matters = np.array([image.id in with_boxes for image in dataset.images])
    known = int((drawn(len(dataset.images), resamples, seed)[:, matters] > 0).any(axis=1).sum())
    if known < 2:
        problem = f"{known} of them have a true box, an interval needs two"
        raise BadInput(f"resamples={resamples}", problem, f"choose more, such as {RESAMPLES}")


@dataclass(frozen=True)
class Sweep:
    """A study at work."""

    model: Model
    dataset: DataSet
    store: Store
    rules: Mapping[str, Any]
    settings: Mapping[str, Any]
    work: Work

    def run(self, configurations: Sequence[Configuration]) -> dict[str, Any]:
        """Steps 1 to 3 of the file's docstring."""
        records = []
        for done, configuration in enumerate(configurations):
            self.work.progress(f"sizes: {configuration.name}", done, len(configurations), 0, 0)
            records.append(Measured(configuration, self.sizes(configuration), None))
        for done, record in enumerate(records):
            known = self.store.load(record.configuration, "ap.json")
            ap = known or self.ap(record.configuration, done, len(records))
            self.log(record.configuration).unlink(missing_ok=True)
            records[done] = record._replace(ap=ap)
            if known is None:
                self.work.after(self.results(records))
        return self.results(records)

    def log(self, configuration: Configuration) -> Path:
        """Where the images of a configuration that are done are written down."""
        return self.store.path(configuration, "log")

    def sizes(self, configuration: Configuration) -> dict[str, Any]:
        """Step 1 of one configuration."""
        known = self.store.load(configuration, "sizes.json")
        if known is None:
            stored = quantized(self.model, configuration, self.work.threads)
            known = measure(self.model, stored, self.store.folder / "state")
            self.store.save(configuration, "sizes.json", known)
        return known

    def ap(self, configuration: Configuration, done: int, total: int) -> dict[str, Any]:
        """Step 2 of one configuration: AP and its replicates, and the predictions."""
        found = self.evaluated(configuration, done, total)
        self.store.save(configuration, "ap.json", found)
        return found

    def evaluated(self, configuration: Configuration, done: int, total: int) -> dict[str, Any]:
        """AP of one configuration and its replicates; the predictions are written."""
        work = self.work
        stats = evaluate(
            quantized(self.model, configuration, work.threads),
            self.dataset,
            **self.rules,
            threads=work.threads,
            executor=work.executor,
            scratch=work.scratch,
            log=self.log(configuration),
            progress=lambda k, n: work.progress(configuration.name, done, total, k, n),
        )
        if stats.failed:
            first = stats.failed[0]
            raise BadInput(first["image"], f"cannot count ({first['error']})", "mend the data set")
        return {
            **{name: getattr(stats, name) for name in NUMBERS},
            "per_class": dict(stats.per_class),
            "detections": len(stats.results),
            "predictions_sha256": self.store.save_predictions(configuration, stats.results),
            "replicates": self.replicates(stats.results),
        }

    def replicates(self, results: Sequence[Mapping[str, Any]]) -> list[float | None]:
        """AP of every resample; None where no true box was drawn."""
        weights = drawn(len(self.dataset.images), **self.settings["bootstrap"])
        ap = average_precision(matches_of(self.dataset, map(dict, results)), weights)
        return [None if np.isnan(value) else value for value in ap.tolist()]

    def results(self, records: Sequence[Measured]) -> dict[str, Any]:
        """Step 3."""
        return assembled({**self.store.identity, **self.facts()}, records)

    def facts(self) -> dict[str, Any]:
        """What the report says about the model and the data; names, never places."""
        source = self.model.source
        data = self.dataset
        return {
            "model": {
                "name": source.get("name", "unnamed"),
                "sha256": source.get("sha256", ""),
                "official": official_name(source.get("sha256", "")),
                "arrays_sha256": self.store.identity["model"],
                "parameters": self.model.parameters,
                "licence": self.model.licence,
            },
            "data": {
                "name": data.name,
                "sha256": self.store.identity["data"],
                "images": len(data.images),
                "true_boxes": sum(not truth.iscrowd for truth in data.truths),
                "categories": len(data.categories),
            },
        }
