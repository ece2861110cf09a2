"""`refquant golden MODEL IMAGE -o G.h5`: every output, for others to be checked against."""

import argparse
from pathlib import Path
from typing import Any

from refquant.arrays.errors import BadInput
from refquant.cli.common import (
    MODEL_HELP,
    add_threads,
    add_verb,
    positive,
    print_json,
    say,
)

EXAMPLE = """
refquant golden yolov7.h5 photo.jpg -o G.h5                keeps every output and the model
refquant golden yolov7.h5 photo.jpg -o G.h5 --size 640     cuts the grey bars, as detect does
refquant golden yolov7.h5 photo.jpg -o G.h5 --digests      keeps hashes and statistics only
refquant golden yolov7.h5 photo.jpg -o G.h5 --keep "model.105*" --keep model.0.conv
refquant golden yolov7.h5 input.npy -o G.npz --npz         takes an input tensor (N, 3, H, W)
"""


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "golden", "record every output for one image", EXAMPLE)
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument(
        "image", type=Path, help="an image, or a .npy with a float32 input tensor (N, 3, H, W)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the golden file to write"
    )
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument(
        "--keep", action="append", metavar="PATTERN", help="keep the outputs of these nodes only"
    )
    kept.add_argument("--digests", action="store_true", help="keep hashes and statistics only")
    parser.add_argument(
        "--size",
        type=positive,
        help="the longer side of the network's input in pixels, the other being as short as the "
        "image allows (default: the whole square that export takes: the model's, else of 640)",
    )
    parser.add_argument("--npz", action="store_true", help="write a .npz, without the model")
    parser.add_argument("--no-model", action="store_true", help="do not store the model in it")
    add_threads(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from refquant.formats.catalogue import load_model
    from refquant.verification.golden.record import record_golden

    if options.npz != (options.output.suffix.lower() == ".npz"):
        remedy = "leave --npz out, or name a .npz" if options.npz else "add --npz, or name a .h5"
        raise BadInput(options.output, "--npz and the suffix .npz go together", remedy)
    content = record_golden(
        load_model(options.model),
        tensor(options.image) if options.image.suffix.lower() == ".npy" else options.image,
        options.output,
        keep=() if options.digests else options.keep or ("*",),
        size=options.size,
        rectangle=options.size is not None,
        npz=options.npz,
        with_model=not options.no_model,
        threads=options.threads,
    )
    size = options.output.stat().st_size
    result = {"output": str(options.output), "content_sha256": content, "bytes": size}
    if options.json:
        print_json(result)
    else:
        say(f"{options.output}  {size:,} bytes\ncontent_sha256 {content}")
    return 0


def tensor(path: Path) -> Any:
    """The array of a .npy file."""
    from refquant.verification.tensors.files import read_npy

    return read_npy(path)
