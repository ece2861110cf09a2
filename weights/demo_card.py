"""The demo's model card, every figure measured in this run or taken from demo.json.

    python -m weights.demo_card              writes weights/MODEL_CARD.md

For the quantized rows every convolution's weight is quantized, the first and the last included;
biases stay float32 and nothing is calibrated or retrained.
"""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from refquant.arrays.atomic import atomic_path
from refquant.detection.dataset import DataSet, find_dataset
from refquant.detection.evaluate import CocoStats, evaluate
from refquant.formats.catalogue import load_model
from refquant.graph.graph import Model
from refquant.quant.recipe import quantize_model, uniform

from .demo_card_text import CARD
from .scene_files import sha256_of
from .scenes import NAMES

HERE = Path(__file__).parent
BITS = (8, 6, 5, 4, 3, 2)
GRANULARITIES = ("layer", "filter")
THREADS = 2


def measure(model: Model, dataset: DataSet, size: int) -> CocoStats:
    """AP, the images shared by two threads; the result does not depend on that."""
    with ThreadPoolExecutor(THREADS) as executor:
        return evaluate(model, dataset, size=size, executor=executor)


def quantized(model: Model, dataset: DataSet, size: int) -> Iterator[tuple[str, int, CocoStats]]:
    """(granularity, bits, figures) for affine weights, from 8 bits down."""
    for granularity in GRANULARITIES:
        for bits in BITS:
            smaller = quantize_model(model, uniform("affine", granularity, bits))
            yield granularity, bits, measure(smaller, dataset, size)


def points(value: float | None) -> str:
    """An AP in points, one decimal."""
    return "-" if value is None else f"{100 * value:.1f}"


def quantized_table(model: Model, dataset: DataSet, size: int) -> str:
    """AP per bits and granularity, as Markdown."""
    found = {(g, b): stats.AP for g, b, stats in quantized(model, dataset, size)}
    lines = ["| bits | " + " | ".join(f"per {g}" for g in GRANULARITIES) + " |", "|---|---|---|"]
    for bits in BITS:
        cells = " | ".join(points(found[g, bits]) for g in GRANULARITIES)
        lines.append(f"| {bits} | {cells} |")
    return "\n".join(lines)


def curve_table(curve: list[dict[str, float]]) -> str:
    """The measured AP along the training, as Markdown."""
    lines = ["| step | pixels | AP | AP50 |", "|---|---|---|---|"]
    for note in curve:
        if "AP" in note:
            ap, ap50 = points(note["AP"]), points(note["AP50"])
            lines.append(f"| {note['step']} | {note['side']:.0f} | {ap} | {ap50} |")
    return "\n".join(lines)


def class_table(per_class: Any) -> str:
    """AP per class, as Markdown."""
    rows = [f"| {name} | {points(value)} |" for name, value in per_class.items()]
    return "\n".join(["| class | AP |", "|---|---|", *rows])


def by_area(dataset: DataSet) -> dict[str, int]:
    """True boxes of every range of areas that COCO has: up to 32**2, up to 96**2 pixels, above."""
    areas = [truth.area for truth in dataset.truths]
    small, medium = (sum(area <= side**2 for area in areas) for side in (32, 96))
    return {"small": small, "medium": medium - small, "large": len(areas) - medium}


def main() -> None:
    facts = json.loads((HERE / "demo.json").read_text(encoding="utf-8"))
    if sha256_of(HERE / "demo") != facts["data_sha256"]:
        raise SystemExit("weights/demo: not the validation set that demo.json speaks of")
    size = facts["input_size"]
    dataset = find_dataset(HERE / "demo", "val")
    model = load_model(HERE / "demo.h5")
    measure(model, dataset.only({image.id for image in dataset.images[:4]}), size)  # compile
    start = time.perf_counter()
    stats = measure(model, dataset, size)
    seconds = time.perf_counter() - start
    text = CARD.format(
        **{key: value for key, value in facts.items() if key != "curve"},
        names=", ".join(NAMES),
        classes=len(NAMES),
        image_count=len(dataset.images),
        truth_count=len(dataset.truths),
        **by_area(dataset),
        parameters=model.counts.parameters,
        folded=model.parameters,
        megabytes=f"{(HERE / 'demo.h5').stat().st_size / 1e6:.2f}",
        **{name: points(getattr(stats, name)) for name in ("AP", "AP50", "AP75")},
        **{name: points(getattr(stats, name)) for name in ("APs", "APm", "APl")},
        torch_points=f"{100 * facts['torch_AP']:.2f}",
        difference=f"{100 * abs(stats.AP - facts['torch_AP']):.3f}" if stats.AP else "-",
        seconds=f"{seconds:.0f}",
        threads=THREADS,
        quantized=quantized_table(model, dataset, size),
        curve=curve_table(facts["curve"]),
        per_class=class_table(stats.per_class),
    )
    with atomic_path(HERE / "MODEL_CARD.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
