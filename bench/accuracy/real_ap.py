"""AP on real images of COCO beside an independent engine's, and what quantization takes from it.

    python -m bench.accuracy.real_ap REAL LOGS [--write]

REAL is the folder with real data that the tests use (README): weights/, coco/val2017/ and the two
files of annotations, of which "official" has the complete records of 188 of the 361 images. Each
case runs the 361 images once, protocol `square`, one thread; what is done stands in the folder
LOGS, and an interrupted command goes on from there. The 188 images are judged by their own
annotations, on the same detections.

    baseline    AP of another engine on the same images, in float32: 640 x 640 letterbox, bilinear,
                padding 114, conf 0.001, multi-label NMS at IoU 0.65, 300 detections
    difference  ours - baseline, points of AP. In float32 it may be 0.3 points at most, or this
                fails; what is quantized is reported.
The two models are then compared on the 361 images by a paired bootstrap (study/bootstrap.py); its
processor time is told. `--write` writes it all to bench/accuracy/real_ap.md.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from refquant.detection.dataset import DataSet, read_dataset
from refquant.detection.evaluate import evaluate
from refquant.detection.score import CocoStats, score
from refquant.formats.catalogue import load_model
from refquant.quant.recipe import quantize_model, uniform
from refquant.study.bootstrap import compare

BASELINE = {
    ("yolov5s_v6.0", "official"): 0.3908,
    ("yolov5s_v6.0", "rep361"): 0.3713,
    ("yolov5n_v6.0", "official"): 0.2914,
    ("yolov5n_v6.0", "rep361"): 0.2649,
}
SETS = {"official": "official_subset", "rep361": "rep361"}
CASES = (("yolov5s_v6.0", 32), ("yolov5n_v6.0", 32), ("yolov5n_v6.0", 8), ("yolov5n_v6.0", 4))
FLOAT = 32
ALLOWED = 0.003  # of AP
HEAD = """# AP on real images of COCO

Written by `python -m bench.accuracy.real_ap`; see its docstring.
Quantized: affine, one group per filter.

| model | bits | images | AP % | AP50 % | AP75 % | baseline AP % | difference, points |
|---|---|---|---|---|---|---|---|
"""


def sets_of(real: Path) -> dict[str, DataSet]:
    """Both sets of images."""
    return {
        key: read_dataset(real / "coco/val2017", real / f"coco/instances_val2017_{file}.json")
        for key, file in SETS.items()
    }


def judged(real: Path, logs: Path, name: str, bits: int) -> Iterator[tuple[str, CocoStats]]:
    """The numbers of one case on either set of images."""
    sets = sets_of(real)
    model = load_model(real / "weights" / f"{name}.pt")
    if bits != FLOAT:
        model = quantize_model(model, uniform("affine", "filter", bits))
    stats = evaluate(model, sets["rep361"], log=logs / f"{name}-{bits}.log")
    assert not stats.failed, stats.failed
    for key, dataset in sets.items():
        ids = {image.id for image in dataset.images}
        yield key, score(dataset, [r for r in stats.results if r["image_id"] in ids])


def compared(dataset: DataSet, a: CocoStats, b: CocoStats) -> str:
    """The paired bootstrap of two models in float32, and what it took."""
    compare(dataset, a.results, b.results, resamples=2)  # compiles
    start = time.process_time()
    found = compare(dataset, a.results, b.results)
    seconds = time.process_time() - start
    return (
        f"YOLOv5s against YOLOv5n: {100 * found.difference:+.2f} points of AP, 95% interval"
        f" {100 * found.low:+.2f} ... {100 * found.high:+.2f}; {found.resamples:,} resamples of"
        f" {found.images} images took {seconds:.1f} s on one core."
    )


def main(real: str, logs: str, *options: str) -> None:
    lines, pair = [], []
    for name, bits in CASES:
        for key, stats in judged(Path(real), Path(logs), name, bits):
            known = BASELINE[name, key]
            assert stats.AP is not None and stats.AP50 is not None and stats.AP75 is not None
            assert bits != FLOAT or abs(stats.AP - known) <= ALLOWED, (name, key, stats.AP)
            numbers = [100 * value for value in (stats.AP, stats.AP50, stats.AP75, known)]
            cells = " | ".join(f"{value:.2f}" for value in numbers)
            what = "float32" if bits == FLOAT else bits
            lines.append(
                f"| {name} | {what} | {key}, {stats.images} | {cells} "
                f"| {100 * (stats.AP - known):+.2f} |"
            )
            print(lines[-1], flush=True)
            pair += [stats] if (bits, key) == (FLOAT, "rep361") else []
    lines += ["", compared(sets_of(Path(real))["rep361"], *pair)]
    print(lines[-1])
    if "--write" in options:
        Path(__file__).with_suffix(".md").write_text(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
