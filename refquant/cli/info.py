"""`refquant info MODEL`: what a model is, and how large in every way of counting."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refquant.cli.common import MODEL_HELP, add_verb, print_json, table

if TYPE_CHECKING:
    from refquant.graph.graph import Model

EXAMPLE = """
refquant info yolov7.h5
refquant info yolov7.pt --layers
refquant info yolov7-4bit.h5 --json
"""


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "info", "show what a model is and how large it is", EXAMPLE)
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("--layers", action="store_true", help="a line per convolution")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from refquant.formats import load_model
    from refquant.quant.accounting import accounting

    model = load_model(options.model)
    if "recipe" in model.source:  # folding decodes raw weights; what is stored are their codes
        model = load_model(options.model, fold=False)
    path = Path(options.model)
    sizes = accounting(model, path.stat().st_size if path.is_file() else None)
    facts = facts_of(options.model, model, len(sizes["layers"]))
    if options.json:
        print_json({**facts, **sizes})
        return 0
    for key, value in facts.items():
        if key == "source":
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        print(f"{key:20} {value if value not in ('', None) else '-'}")
    print()
    print(bytes_table(sizes))
    if options.layers:
        print()
        print(layers_table(sizes["layers"]))
    return 0


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
    """The byte counts, each against FP32 and FP16; the nominal way has a baseline of its own."""
    rows = []
    for way, count in sizes["bytes"].items():
        ratio = sizes["ratios"].get(way) or {}
        against = [f"{ratio[kind]:.3f}" if kind in ratio else "" for kind in ("fp32", "fp16")]
        rows.append((way, f"{count:,}" if count is not None else "-", *against))
    text = table(rows, ("bytes", "count", "x smaller than FP32", "than FP16"))
    baseline = f"{sizes['baseline_unfolded_fp16']:,}"
    return f"{text}\nnominal: the study's count, against the unfolded network, {baseline} in FP16"


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
