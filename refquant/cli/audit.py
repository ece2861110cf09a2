"""`refquant audit MODEL`: errors, proven bounds and bytes of quantized weights, down to one.

Leaves with 1 where a weight is farther off than its proven bound: then the file was not made from
the model that it is compared with.
"""

import argparse
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refquant.arrays.errors import BadInput
from refquant.cli.audit_text import report, text_of
from refquant.cli.common import MODEL_HELP, add_threads, add_verb, progress, say

if TYPE_CHECKING:
    from refquant.drawing.svg import Drawing

EXAMPLE = """
refquant audit q.h5                                       what can be known from the file alone
refquant audit q.h5 --against yolov7.pt                   and the errors
refquant audit q.h5 --against yolov7.pt --layer model.0.conv
refquant audit q.h5 --against yolov7.pt --layer model.0.conv --group 3 --plot pictures
refquant audit q.h5 --against yolov7.pt --layer model.0.conv --weight 3,0,1,2
refquant audit yolov7.pt --grid --scheme affine,pwlq --granularity filter,c-shape --bits 3,4,5
refquant audit yolov7.pt --grid --layer model.0.conv      that layer alone
"""
GRID = {  # what --grid goes through unless it is told
    "scheme": "affine,symmetric,pwlq",
    "granularity": "layer,filter,channel,f-shape,c-shape",
    "bits": "4",
}
MOST_GROUPS = 40  # lines of a text table; JSON and CSV have all


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "audit", "measure what quantization did to weights", EXAMPLE)
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("--against", metavar="FLOAT", help="the float model that it was made from")
    parser.add_argument("--layer", metavar="NAME", help="one layer, group by group")
    parser.add_argument(
        "--group", type=int, metavar="G", help="one group of the layer, code by code"
    )
    parser.add_argument(
        "--weight", metavar="F,C,R,S", help="one weight, with every intermediate number"
    )
    parser.add_argument("--grid", action="store_true", help="quantize a float model in every way")
    for option, default in GRID.items():
        also = ": 4 or 3,4,5 or 2-8" if option == "bits" else ", several with commas between them"
        parser.add_argument(f"--{option}", help=f"for --grid{also} (default: {default})")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table as CSV as well")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="write pictures (SVG)")
    add_threads(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    check(options)
    if options.grid:
        return run_grid(options)
    if options.layer:
        return run_layer(options)
    return run_model(options)


def check(options: argparse.Namespace) -> None:
    """Refuse options that would have no effect."""
    if options.layer is None and (options.group is not None or options.weight is not None):
        option = "--weight" if options.group is None else "--group"
        raise BadInput(option, "is one of a layer's", "name the layer with --layer")
    refuse_together(options, "grid", ("against", "group", "weight", "plot"))
    refuse_together(options, "weight", ("group", "plot"))
    for option in GRID:
        if not options.grid and getattr(options, option) is not None:
            raise BadInput(f"--{option}", "has no meaning without --grid", "add --grid")


def refuse_together(options: argparse.Namespace, one: str, others: tuple[str, ...]) -> None:
    """Refuse an option beside others that it makes void."""
    for other in others:
        if getattr(options, one) not in (None, False) and getattr(options, other) is not None:
            raise BadInput(f"--{other}", f"has no meaning with --{one}", "leave one of them out")


def run_model(options: argparse.Namespace) -> int:
    """All layers."""
    from refquant.auditing.audit import audit

    model, against = models(options)
    path = Path(options.model)
    result = audit(model, against, path.stat().st_size if path.is_file() else None)
    plain = result.to_json()
    if options.plot:
        from refquant.auditing.plot import layers_plot

        write_picture(layers_plot(plain["layers"]), options.plot)
    report(options, plain, plain["layers"], LAYER_COLUMNS)
    if not options.json:
        from refquant.cli.info import bytes_table

        say(f"\nall quantized weights\n{text_of(plain['total'])}")
        say(f"\nthe whole model\n{bytes_table(plain)}")
        if against is None:
            say("\n-: not known without the float model; name it with --against")
    return 1 if result.total.within_bound is False else 0


def run_layer(options: argparse.Namespace) -> int:
    """One layer: its groups, one group or one weight."""
    from refquant.auditing.audit import original
    from refquant.auditing.detail import audit_group, audit_groups, audit_weight

    model, against = models(options)
    tensor = quantized(model, options.layer)
    w = None if against is None else original(against, options.layer, tensor.shape)
    if options.weight is not None:
        weight = audit_weight(tensor, w, indices(options.weight))
        plain = weight.to_json()
        report(options, plain, plain["steps"], ("symbol", "value", "equation"))
        if not options.json:
            stored = f"{weight.code_in_binary}, {weight.stored_bits} bits"
            say(f"\n{weight.where}; stored as {stored}")
        return 0
    if options.group is not None:
        plain = audit_group(tensor, w, options.group).to_json()
        picture(options, tensor, w, options.group)
        report(options, plain, plain["codes"], CODE_COLUMNS)
        if not options.json:
            say(f"\n{text_of({k: v for k, v in plain.items() if k != 'codes'})}")
        return 0
    groups = [group.to_json() for group in audit_groups(tensor, w)]
    picture(options, tensor, w, 0)
    shown = sorted(groups, key=lambda row: -row.get("mse", 0.0))
    result = {"layer": options.layer, "groups": groups}
    report(options, result, shown, tuple(groups[0]), most=MOST_GROUPS)
    return 0


def run_grid(options: argparse.Namespace) -> int:
    """Every scheme, granularity and width; of all layers or of one."""
    from concurrent.futures import ThreadPoolExecutor

    from refquant.auditing.grid import grid, weights_of
    from refquant.formats.catalogue import load_model

    weights = weights_of(load_model(options.model))
    if options.layer is not None:
        weights = {options.layer: named(options.layer, weights, "float")}
    scheme, granularity, bits = (getattr(options, key) or GRID[key] for key in GRID)
    lists = scheme.split(","), granularities(granularity), widths(bits)
    total = math.prod(map(len, lists))
    with ThreadPoolExecutor(options.threads) as executor:
        rows = grid(weights, *lists, map_layers=executor.map)
        result = [row.to_json() for row in progress(rows, total=total, what="grid")]
    totals = [{"name": "all", **{k: v for k, v in row.items() if k != "rows"}} for row in result]
    both = zip(totals, result, strict=True)
    every = [line for total, row in both for line in (total, *row["rows"])]
    report(options, {"grid": result}, totals, GRID_COLUMNS, in_csv=every)
    return 0


WAY_COLUMNS = ("scheme", "granularity", "axes", "bits", "code_bits", "groups")
ERROR_COLUMNS = ("max_error", "bound", "mse", "sqnr_db", "clipped", "used_codes", "entropy_bits")
BYTE_COLUMNS = ("nominal", "packed", "entropy")
LAYER_COLUMNS = ("name", *WAY_COLUMNS, *ERROR_COLUMNS, *BYTE_COLUMNS)
GRID_COLUMNS = (*WAY_COLUMNS, *ERROR_COLUMNS, "bits_per_weight", *BYTE_COLUMNS)

CODE_COLUMNS = ("code", "level", "count", "lowest", "highest")


def models(options: argparse.Namespace) -> tuple[Any, Any]:
    """The model as it is stored, and the one to compare with in the same form."""
    from refquant.auditing.audit import check_folding
    from refquant.formats.catalogue import load_model

    model = load_model(options.model, fold=False)
    if options.against is None:
        return model, None
    against = load_model(options.against, fold=model.folded)
    check_folding(model, against)
    return model, against


def quantized(model: Any, name: str) -> Any:
    """The quantized weight of a layer."""
    from refquant.quant.tensor import QuantizedTensor

    tensors = {
        node.name: node.arrays["weight"]
        for node in model.nodes
        if isinstance(node.arrays.get("weight"), QuantizedTensor)
    }
    return named(name, tensors, "quantized")


def named(name: str, weights: Mapping[str, Any], kind: str) -> Any:
    """The weight of that layer; an unknown name shows a few that are known."""
    if name not in weights:
        known = f"names are like {', '.join([*weights][:3])}; refquant info --layers lists all"
        remedy = known if weights else "there is none in this model"
        raise BadInput(f"layer={name!r}", f"is no {kind} weight", remedy)
    return weights[name]


def picture(options: argparse.Namespace, tensor: Any, w: Any, group: int) -> None:
    """The group's histogram, where --plot asks for it."""
    if options.plot is None:
        return
    from refquant.auditing.detail import group_name
    from refquant.auditing.plot import group_plot

    title = f"{options.layer}, {group_name(tensor, group)}: {tensor.scheme}, {tensor.bits} bits"
    name = f"{options.layer}-{group}".replace("/", "-")
    write_picture(group_plot(tensor, w, group, title, name), options.plot)


def write_picture(drawing: "Drawing", folder: Path) -> None:
    """The drawing as a file of the folder, which is made where there is none."""
    from refquant.drawing.svg import write_svg

    folder.mkdir(parents=True, exist_ok=True)
    write_svg([drawing], folder)


def granularities(text: str) -> list[str]:
    """filter,axes:F,R,layer: the commas within an axis set, before a single letter, stay."""
    return re.split(r",(?![A-Z](?:,|$))", text)


def widths(text: str) -> list[int]:
    """4, 3,4,5 or 2-8."""
    first, dash, last = text.partition("-")
    parts = (
        [str(b) for b in range(int(first), int(last) + 1)]
        if dash and whole(first, last) and int(first) <= int(last)
        else text.split(",")
    )
    if not whole(*parts):
        raise BadInput(f"bits={text!r}", "write 4 or 3,4,5 or 2-8")
    return [int(part) for part in parts]


def indices(text: str) -> list[int]:
    """F,C,R,S as numbers."""
    parts = text.split(",")
    if not whole(*parts):
        raise BadInput(f"weight={text!r}", "write four numbers, such as 3,0,1,2")
    return [int(part) for part in parts]


def whole(*parts: str) -> bool:
    """Whether all are decimal digits."""
    return all(part.isdecimal() for part in parts)
