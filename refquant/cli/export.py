"""`refquant export MODEL -o X.onnx | X.npz`: the reference for the tool chains of others."""

import argparse
from pathlib import Path
from typing import Any

from refquant.arrays.errors import BadInput
from refquant.cli.common import MODEL_HELP, SIZE_HELP, add_verb, positive, print_json, say

EXAMPLE = """
refquant export yolov7.h5 -o yolov7.onnx                      opset 17, 1 x 3 x 640 x 640
refquant export yolov7.h5 -o yolov7.onnx --size 384 640       rows and columns
refquant export yolov7-4bit.h5 -o q.onnx                      codes with DequantizeLinear
refquant export yolov7.h5 -o yolov7.npz                       plain arrays and an index
"""


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "export", "write a model as ONNX or plain arrays", EXAMPLE)
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("-o", "--output", type=Path, required=True, help="X.onnx or X.npz")
    parser.add_argument(
        "--size", type=positive, nargs="+", metavar="N",
        help=f"of the ONNX input in pixels: one side, or rows and columns ({SIZE_HELP})",
    )  # fmt: skip
    parser.add_argument("--batch", type=positive, default=1, help="images at once (default: 1)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from refquant.formats.catalogue import load_model
    from refquant.formats.npz_export import export_npz
    from refquant.formats.onnx.export import OPSET, export_onnx

    kind = options.output.suffix.lower()
    if kind not in (".onnx", ".npz"):
        raise BadInput(options.output, f"suffix {kind!r} is no export", "choose .onnx | .npz")
    if options.size and len(options.size) > 2:
        raise BadInput(f"--size {options.size}", "one side, or rows and columns")
    model = load_model(options.model)
    sides = options.size or [model.input_size]
    facts: dict[str, Any] = {"output": str(options.output)}
    if kind == ".onnx":
        rows, columns = sides[0], sides[-1]
        shape = (options.batch, 3, rows, columns)
        export_onnx(model, options.output, shape=shape)
        facts |= {"opset": OPSET, "input": list(shape)}
    else:
        export_npz(model, options.output)
    facts["bytes"] = options.output.stat().st_size
    if options.json:
        print_json(facts)
    else:
        say("\n".join(f"{key:8} {value}" for key, value in facts.items()))
    return 0
