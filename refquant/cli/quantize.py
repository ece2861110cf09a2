"""`refquant quantize MODEL -o OUT.h5`: weights of convolutions become codes, as a recipe says."""

import argparse
from pathlib import Path
from typing import Any

from refquant.cli.common import MODEL_HELP, add_threads, add_verb, print_json, say

EXAMPLE = """
refquant quantize yolov7.pt                                  affine, per filter, 4 bits
refquant quantize yolov7.h5 -o q.h5 --scheme symmetric --granularity c-shape --bits 6
refquant quantize yolov7.h5 -o q.h5 --recipe "model.0.conv skip; model.105.* affine filter 8"
refquant quantize yolov7.h5 -o q.h5 --recipe recipe.txt      the same rules, one per line
refquant quantize yolov7.h5 -o q.h5 --granularity filter+f-shape+c-shape:budget=3.92
refquant quantize yolov7.pt -o q.h5 --before-folding         raw weights, folded when it is read
"""


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "quantize", "quantize the weights of a model", EXAMPLE)
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument(
        "-o", "--output", type=Path, help="the file to write (default: MODEL-SCHEME-BITSbit.h5)"
    )
    parser.add_argument(
        "--scheme",
        default="affine",
        help="affine, symmetric, pwlq ..., with options behind a colon (default: %(default)s)",
    )
    parser.add_argument(
        "--granularity",
        default="filter",
        help="layer, filter, channel, f-shape, c-shape, block-64, axes:F,R ..., or several joined "
        "by + (default: %(default)s)",
    )
    parser.add_argument(
        "--bits",
        type=int,
        default=4,
        help="how many bits a code has, 2 ... 8 (default: %(default)s)",
    )
    parser.add_argument(
        "--params-dtype",
        default="float32",
        help="how scales are stored: float32 (default) or float16",
    )
    parser.add_argument(
        "--recipe",
        help="rules 'PATTERN skip' or 'PATTERN SCHEME GRANULARITY BITS [DTYPE]', separated by "
        "';', or a file with one per line; the first that matches wins, the options above hold "
        "for the layers that no rule matches",
    )
    parser.add_argument(
        "--bias-dtype",
        default="float32",
        help="how biases are stored: float32 (default) or float16",
    )
    parser.add_argument(
        "--before-folding",
        action="store_true",
        help="quantize the raw weights and keep batch norms, RepConv branches and implicit layers",
    )
    add_threads(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from refquant.arrays.errors import BadInput
    from refquant.formats.catalogue import load_model, save_model
    from refquant.quant.accounting import accounting
    from refquant.quant.recipe import quantize_model, with_default

    recipe = with_default(
        options.recipe,
        options.scheme,
        options.granularity,
        options.bits,
        options.params_dtype,
    )
    model = load_model(options.model, fold=not options.before_folding)
    output = options.output or default_output(options)
    if options.before_folding and model.folded:
        raise BadInput(options.model, "is folded already", "leave out --before-folding")
    model = quantize_model(model, recipe, bias_dtype=options.bias_dtype, threads=options.threads)
    content = save_model(model, output)
    result = {
        "output": str(output),
        "content_sha256": content,
        **accounting(model, output.stat().st_size),
    }
    if options.json:
        print_json(result)
    else:
        show(result)
    return 0


def default_output(options: argparse.Namespace) -> Path:
    """yolov7.pt -> yolov7-affine-4bit.h5, in the working folder for models that are no files."""
    path = Path(options.model.replace(":", "-"))
    scheme = "recipe" if options.recipe else options.scheme.replace(":", "-")
    return path.with_name(f"{path.stem}-{scheme}-{options.bits}bit.h5")


def show(result: dict[str, Any]) -> None:
    from refquant.cli.info import bytes_table, layers_table

    say(layers_table(result["layers"]))
    say()
    say(bytes_table(result))
    say(f"\n{result['output']}\ncontent_sha256 {result['content_sha256']}")
