"""`refquant info MODEL`: what a model is, and how large in every way of counting.

"folded" is said of what is stored. The nodes and the sizes are those of the model that the other
verbs work with: it is folded, unless its weights were quantized before folding.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refquant.arrays.errors import printable
from refquant.cli.common import MODEL_HELP, add_verb, print_json, say, table

if TYPE_CHECKING:
    from refquant.graph.graph import Model

EXAMPLE = """
refquant info yolov7.h5
refquant info yolov7.pt --layers
refquant info yolov7.pt --nodes              the names that golden --keep and verify --map take
refquant info yolov7-4bit.h5 --json
"""


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "info", "show what a model is and how large it is", EXAMPLE)
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("--layers", action="store_true", help="print a line per convolution")
    parser.add_argument(
        "--nodes",
        action="store_true",
        help="print a line per node: its name, its operation and its inputs",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from refquant.formats.catalogue import load_model
    from refquant.quant.accounting import accounting

    stored = load_model(options.model, fold=False)
    # Folding would decode weights that were quantized before it, but what is stored are codes.
    as_stored = stored.folded or "recipe" in stored.source
    model = stored if as_stored else load_model(options.model)
    path = Path(options.model)
    sizes = accounting(model, path.stat().st_size if path.is_file() else None)
    facts = facts_of(options.model, model, len(sizes["layers"])) | {"folded": stored.folded}
    nodes = [{"name": n.name, "op": n.op, "inputs": list(n.inputs)} for n in model.nodes]
    if options.json:
        print_json({**facts, **sizes, "nodes_list": nodes})
        return 0
    show_facts(facts)
    say("\n" + bytes_table(sizes))
    if options.layers:
        say("\n" + layers_table(sizes["layers"]))
    if options.nodes:
        say("\n" + nodes_table(nodes))
    return 0


def show_facts(facts: dict[str, Any]) -> None:
    """A line per fact."""
    for key, value in facts.items():
        if key == "source":
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        say(printable(f"{key:20} {value if value not in ('', None) else '-'}"))


def facts_of(name: str, model: "Model", convolutions: int) -> dict[str, Any]:
    """What a model is."""
    return {
        "model": name,
        "source": dict(model.source),
        "official": official(model.source.get("sha256", "")),
        "licence": model.licence,
        "folded": model.folded,
        "classes": len(model.class_names),
        "strides": [int(stride) for stride in model.head.attributes["strides"]],
        "nodes": len(model.nodes),
        "convolutions": convolutions,
        "parameters": model.parameters,
        "parameters_unfolded": model.counts.parameters,
    }


def official(sha256: str) -> str | None:
    """The name of the official file with that hash."""
    from refquant.formats.official import official_name

    return official_name(sha256)


def bytes_table(sizes: dict[str, Any]) -> str:
    """The counts of bytes, each against FP32 and FP16; the nominal one has its own baseline."""
    rows = []
    for way, count in sizes["bytes"].items():
        ratio = sizes["ratios"].get(way) or {}
        against = [f"{ratio[kind]:.3f}" if kind in ratio else "" for kind in ("fp32", "fp16")]
        rows.append((way, f"{count:,}" if count is not None else "-", *against))
    text = table(rows, ("bytes", "count", "x smaller than FP32", "than FP16"))
    baseline = f"{sizes['baseline_unfolded_fp16']:,}"
    return f"{text}\nnominal: the paper's count, against the unfolded network, {baseline} in FP16"


def layers_table(layers: list[dict[str, Any]]) -> str:
    """A line per convolution."""
    rows = [
        (
            layer["name"],
            "x".join(map(str, layer["shape"])),
            layer["scheme"] or "float32",
            layer["granularity"] or "-",
            layer["axes"] or "-",
            layer["bits"],
            layer["code_bits"],
            f"{layer['packed']:,}",
        )
        for layer in layers
    ]
    header = ("convolution", "F x C x R x S", "scheme", "granularity", "axes", "bits", "stored",
              "bytes")  # fmt: skip
    return table(rows, header)


def nodes_table(nodes: list[dict[str, Any]]) -> str:
    """A line per node, in order of execution; aligned to the left, since inputs are names."""
    width = max(len(node["name"]) for node in nodes)
    rows = [(node["name"], node["op"], " ".join(node["inputs"])) for node in nodes]
    header = ("node", "operation", "inputs")
    return "\n".join(f"{name:{width}}  {op:16}  {inputs}" for name, op, inputs in (header, *rows))
