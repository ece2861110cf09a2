"""`refquant export MODEL -o X.onnx | X.npz`: the reference for the tool chains of others."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refquant.arrays.errors import BadInput
from refquant.cli.common import MODEL_HELP, SIZE_HELP, add_verb, positive, print_json, say

if TYPE_CHECKING:
    from refquant.graph.graph import Model

EXAMPLE = """
refquant export yolov7.h5 -o yolov7.onnx                      has opset 17 and 1 x 3 x 640 x 640
refquant export yolov7.h5 -o yolov7.onnx --size 384 640       has so many rows and columns
refquant export yolov7.h5 -o yolov7.onnx --like G.h5          has the shape of that golden's input
refquant export yolov7-4bit.h5 -o q.onnx                      has codes with DequantizeLinear
refquant export yolov7.h5 -o yolov7.npz                       has plain arrays and an index
"""


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "export", "write a model as ONNX or plain arrays", EXAMPLE)
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the file to write, X.onnx or X.npz"
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "--size", type=positive, nargs="+", metavar="N",
        help="the size of the ONNX input in pixels: one side, or rows and columns "
        f"({SIZE_HELP})",
    )  # fmt: skip
    shape.add_argument(
        "--like", type=Path, metavar="GOLDEN",
        help="give the ONNX input the shape that the input of this golden has",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=positive, help="how many images the ONNX input holds (default: 1)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from refquant.formats.catalogue import load_model
    from refquant.formats.npz_export import export_npz
    from refquant.formats.onnx.export import OPSET, export_onnx

    kind = options.output.suffix.lower()
    if kind not in (".onnx", ".npz"):
        raise BadInput(options.output, f"suffix {kind!r} is no export", "choose .onnx | .npz")
    check(options, kind)
    model = load_model(options.model)
    facts: dict[str, Any] = {"output": str(options.output)}
    if kind == ".onnx":
        shape = shape_of(options, model)
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


def check(options: argparse.Namespace, kind: str) -> None:
    """Refuse options that contradict each other, before a model is read."""
    if options.size and len(options.size) > 2:
        raise BadInput(f"--size {options.size}", "give one side, or rows and columns")
    if options.like and options.batch:
        raise BadInput("--batch", "a golden says how many images", "leave out --batch or --like")
    if options.like and kind != ".onnx":
        raise BadInput("--like", f"a {kind} has no input", "leave --like out")


def shape_of(options: argparse.Namespace, model: "Model") -> tuple[int, int, int, int]:
    """(N, 3, H, W) of the ONNX input: the golden's, the one asked for, or the model's square.

    That square's side is rounded up to the model's stride, as golden does.
    """
    if options.like is not None:
        return golden_shape(options.like)
    sides = options.size or [-(-model.input_size // model.stride) * model.stride]
    return options.batch or 1, 3, sides[0], sides[-1]


def golden_shape(path: Path) -> tuple[int, int, int, int]:
    """The shape of a golden's input tensor."""
    from refquant.graph.graph import INPUT
    from refquant.verification.golden.file import open_golden

    with open_golden(path) as golden:
        shape = golden.records[INPUT].shape
    if len(shape) != 4:
        raise BadInput(path, f"its input is {list(shape)}, not (N, 3, H, W)", "make it again")
    return shape
