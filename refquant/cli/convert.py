"""`refquant convert CHECKPOINT -o MODEL.h5`: write any model that can be read as HDF5."""

import argparse
from pathlib import Path
from typing import Any

from refquant.arrays.errors import BadInput
from refquant.cli.common import MODEL_HELP, add_verb, print_json, say

EXAMPLE = """
refquant convert yolov7.pt                   writes yolov7.h5
refquant convert yolov7.pt -o raw.h5 --no-fold
refquant convert weights.pt --arch yolov7-w6        of a state_dict: tensors by name
refquant convert yolov7.weights                     of Darknet; yolov7.cfg lies beside it
"""


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "convert", "write a model as HDF5", EXAMPLE)
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="the file to write (default: the name of the input with .h5)",
    )
    parser.add_argument(
        "--no-fold",
        action="store_true",
        help="keep batch norms, RepConv branches and implicit layers",
    )
    parser.add_argument(
        "--arch",
        metavar="NAME",
        help="the architecture, for a file that has only tensors by name (a state_dict): yolov7, "
        "yolov7x, yolov7-tiny, yolov7-tiny-silu, yolov7-w6, -e6, -d6 or -e6e",
    )
    parser.add_argument(
        "--eps",
        type=float,
        help="the epsilon of the batch norms of a Darknet model (default: 1e-5, as Darknet has "
        "it; choose 1e-3 where the statistics were copied from PyTorch)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from refquant.formats.catalogue import load_model, save_model

    model = load_model(options.model, fold=not options.no_fold, arch=options.arch, eps=options.eps)
    output = options.output or default_output(options.model)
    content = save_model(model, output)
    result = {
        "output": str(output),
        "content_sha256": content,
        "source": dict(model.source),
        "licence": model.licence,
        "folded": model.folded,
        "nodes": len(model.nodes),
        "parameters": model.parameters,
        "bytes": {"file": output.stat().st_size},
    }
    if options.json:
        print_json(result)
    else:
        say(f"{output}: {model.parameters:,} parameters, {output.stat().st_size:,} bytes")
        say(f"content_sha256 {content}")
        if model.licence:
            say(f"licence note: {model.licence}")
    return 0


def default_output(model: str) -> Path:
    """yolov7.pt -> yolov7.h5, but never the input: folding it would lose batch norms and more."""
    output = Path(model.replace(":", "-")).with_suffix(".h5")
    if output == Path(model):
        raise BadInput(output, "is the input itself", "choose another file with -o")
    return output
