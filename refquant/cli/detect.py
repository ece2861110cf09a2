"""`refquant detect MODEL IMAGE...`: what images show, as text, as JSON, or drawn into a copy."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refquant.arrays.errors import BadInput, printable
from refquant.cli.common import (
    MODEL_HELP,
    SIZE_HELP,
    add_threads,
    add_verb,
    fraction,
    positive,
    print_json,
    progress,
    say,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from refquant.detection.predict import Detections
    from refquant.graph.graph import Model

EXAMPLE = """
refquant detect yolov7.h5 photo.jpg                      prints text on stdout
refquant detect yolov7.h5 photo.jpg -o found/            and writes found/photo.jpg with boxes
refquant detect yolov7.h5 holiday/ more/*.png -o found/  takes folders and files
refquant detect yolov7.h5 photo.jpg --conf 0.5 --json
"""


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "detect", "find objects in images", EXAMPLE)
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("images", nargs="+", type=Path, help="image files or folders of them")
    parser.add_argument("-o", "--output", type=Path, help="the folder for the annotated images")
    parser.add_argument(
        "--conf", type=fraction, default=0.25, help="the lowest score (default: %(default)s)"
    )
    parser.add_argument(
        "--iou", type=fraction, default=0.45, help="the overlap NMS allows (default: %(default)s)"
    )
    parser.add_argument(
        "--size",
        type=positive,
        help=f"the longer side of the network's input in pixels ({SIZE_HELP})",
    )
    parser.add_argument(
        "--nms",
        choices=("exact", "compat"),
        default="exact",
        help="exact (default): class by class; compat: all at once, with boxes shifted by their "
        "class, as the public code does",
    )
    add_threads(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from refquant.formats.catalogue import load_model

    paths = image_files(options.images)
    targets = target_files(paths, options.output)
    say_folder(options.output)
    model = load_model(options.model)
    found, failed = [], []
    for path in progress(paths, total=len(paths), what="detect"):
        try:
            entry = looked_at(options, model, path, targets.get(path))
        except BadInput as error:
            print(f"refquant: {error}{folder_meant(path, options)}", file=sys.stderr)
            failed.append({"image": str(path), "error": str(error)})
            continue
        found.append(entry)
        if not options.json:
            print_text(entry)
    if options.json:
        print_json({"images": found, "failed": failed})
    return 3 if failed else 0


def looked_at(
    options: argparse.Namespace, model: "Model", path: Path, target: Path | None
) -> dict[str, Any]:
    """What was found in one image, which is drawn into `target` if there is one."""
    from refquant.detection.image import read_image
    from refquant.detection.predict import detect

    image = read_image(path)
    detections = detect(
        model,
        image,
        conf=options.conf,
        iou=options.iou,
        size=options.size,
        nms=options.nms,
        threads=options.threads,
    )
    if target is not None:
        write_picture(image, target, detections, model.class_names)
    return {"image": str(path), "detections": rows(detections, model.class_names)}


def say_folder(folder: Path | None) -> None:
    """Say on stderr that -o names a folder, where its name looks like an image's."""
    from refquant.detection.image import SUFFIXES

    if folder is not None and folder.suffix.lower() in SUFFIXES:
        name = printable(str(folder))
        print(f"refquant: note: {name} is a folder for the annotated images", file=sys.stderr)


def folder_meant(path: Path, options: argparse.Namespace) -> str:
    """A hint for those who name the folder of the annotated images behind the images."""
    if options.output is not None or path.suffix or path.exists():
        return ""
    return "; the folder for the annotated images is named with -o"


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The files named, and the images in the folders named, in the order of their names."""
    from refquant.detection.image import SUFFIXES

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise BadInput(path, "there are no images in this folder")
            files.extend(inside)
        else:
            files.append(path)
    return list(dict.fromkeys(files))


def target_files(paths: Sequence[Path], folder: Path | None) -> dict[Path, Path]:
    """Where each annotated image goes; no two share a name, and no input is overwritten."""
    targets: dict[Path, Path] = {}
    if folder is None:
        return targets
    for path in paths:
        target = folder / path.name
        number = 2
        while target in targets.values():
            target = folder / f"{path.stem}-{number}{path.suffix}"
            number += 1
        if target.resolve() in {p.resolve() for p in paths}:
            raise BadInput(folder, f"would overwrite {target}", "choose another output folder")
        targets[path] = target
    folder.mkdir(parents=True, exist_ok=True)
    return targets


def rows(detections: "Detections", class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Detections as plain data, the best first."""
    return [
        {
            "class": int(k),
            "name": class_names[int(k)],
            "score": round(float(score), 5),
            "box": [round(float(v), 2) for v in box],
        }
        for box, score, k in zip(
            detections.boxes, detections.scores, detections.classes, strict=True
        )
    ]


def print_text(entry: dict[str, Any]) -> None:
    """One line per detection: class, score, corners in pixels."""
    say(f"{printable(entry['image'])}: {len(entry['detections'])} found")
    for row in entry["detections"]:
        x1, y1, x2, y2 = (round(v) for v in row["box"])
        say(f"  {row['name']:20} {row['score']:.2f}  x {x1}-{x2}  y {y1}-{y2}")


def write_picture(
    image: "NDArray[np.uint8]",
    target: Path,
    detections: "Detections",
    class_names: Sequence[str],
) -> None:
    """The annotated copy, in the format of its suffix (PNG where that cannot be written)."""
    from PIL import Image

    from refquant.arrays.atomic import atomic_path
    from refquant.detection.draw import draw

    picture = draw(image, detections, class_names)
    kind = Image.registered_extensions().get(target.suffix.lower(), "PNG")
    if kind not in Image.SAVE:
        kind, target = "PNG", target.with_suffix(".png")
    with atomic_path(target) as temporary:
        picture.save(temporary, format=kind, **({"quality": 95} if kind == "JPEG" else {}))
