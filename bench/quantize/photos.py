"""What a quantized detector still sees: `python -m bench.quantize.photos MODEL PHOTO...`.

Every photo is shown to the float model and to each quantized one, and detections are compared:

    kept   detections of the float model that the quantized one finds again: the same class, boxes
           that overlap by IoU >= 0.5, every box used once, best scores first
    lost   the others of the float model;  new   the others of the quantized one
    iou    mean over those kept;  score   mean change of their scores
    sqnr_db  of the quantized weights (auditing/audit.py), to set beside

Conf 0.25, IoU of NMS 0.45, as `refquant detect` has them. Rows go into
docs/quantization_photos.csv, `python -m bench.quantize.weights write` makes the page;
`--draw FOLDER` writes pictures, to be looked at. A few photos show what happens; how often it
does, only AP can tell.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.quantize.weights import PHOTOS, append
from refquant.auditing.audit import audit
from refquant.detection.draw import draw
from refquant.detection.image import read_image
from refquant.detection.predict import Detections, detect
from refquant.formats.catalogue import load_model
from refquant.ops.nms import overlap
from refquant.quant.recipe import quantize_model, uniform

SCHEMES = ("affine", "affine:mse", "affine:mse+bc", "pwlq")
WIDTHS = (8, 6, 5, 4, 3)
LEAST_IOU = 0.5


def pairs(before: Detections, after: Detections) -> list[tuple[int, int, float]]:
    """(place in before, place in after, IoU) of detections that are the same object."""
    free, found = set(range(len(after))), []
    for i in range(len(before)):
        iou = overlap(before.boxes[i], after.boxes)
        same = [j for j in free if after.classes[j] == before.classes[i] and iou[j] >= LEAST_IOU]
        if same:
            j = max(same, key=lambda j: iou[j])
            free.remove(j)
            found.append((i, j, float(iou[j])))
    return found


def named(found: Detections, places: Sequence[int], names: Sequence[str]) -> str:
    """Such as "person 0.31, tie 0.53"."""
    return ", ".join(f"{names[found.classes[i]]} {found.scores[i]:.2f}" for i in places)


def compared(before: Detections, after: Detections, names: Sequence[str]) -> dict[str, Any]:
    """The columns of one photo."""
    same = pairs(before, after)
    kept, seen = {i for i, _, _ in same}, {j for _, j, _ in same}
    lost = [i for i in range(len(before)) if i not in kept]
    new = [j for j in range(len(after)) if j not in seen]
    changes = [float(after.scores[j] - before.scores[i]) for i, j, _ in same]
    return {
        "float": len(before),
        "found": len(after),
        "kept": len(same),
        "iou": round(float(np.mean([iou for _, _, iou in same])), 3) if same else "",
        "score": round(float(np.mean(changes)), 3) if same else "",
        "lost": named(before, lost, names),
        "new": named(after, new, names),
    }


def rows(path: str, photos: Sequence[Path], folder: Path | None) -> Iterator[dict[str, Any]]:
    """A row per scheme, width and photo."""
    model = load_model(path)
    images = {photo: read_image(photo) for photo in photos}
    before = {photo: detect(model, image, threads=2) for photo, image in images.items()}
    for scheme in SCHEMES:
        for bits in WIDTHS:
            quantized = quantize_model(model, uniform(scheme, "filter", bits), threads=2)
            audited = audit(quantized, model)
            way = {
                "model": Path(path).stem,
                "scheme": scheme,
                "bits": bits,
                "code_bits": audited.layers[0].code_bits,
                "sqnr_db": round(audited.total.sqnr_db, 2),
            }
            for photo, image in images.items():
                after = detect(quantized, image, threads=2)
                yield {
                    **way,
                    "photo": photo.stem,
                    **compared(before[photo], after, model.class_names),
                }
                if folder is not None:
                    name = f"{photo.stem}-{scheme.replace(':', '-')}-{bits}.png"
                    draw(image, after, model.class_names).save(folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--draw", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.draw is not None:
        options.draw.mkdir(parents=True, exist_ok=True)
    found = list(rows(options.model, options.photos, options.draw))
    PHOTOS.unlink(missing_ok=True)
    append(PHOTOS, tuple(found[0]), found)
    for row in found:
        print(*row.values())


if __name__ == "__main__":
    main()
