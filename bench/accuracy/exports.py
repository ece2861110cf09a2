"""Exported models: do they run in onnxruntime, are they consistent, are decoded weights ours?

    python -m bench.accuracy.exports MODEL ... --photo PHOTO [--size N]      writes exports.md

Each model is written by `refquant export` as float32 and with quantized weights (RECIPES), run by
`refquant verify` for the photo letterboxed to N pixels, and every quantized weight that
onnxruntime decodes is compared with ours, bit by bit.
"""

import argparse
import contextlib
import io
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from bench.runtimes import onnxruntime_outputs
from refquant.cli.main import main as refquant
from refquant.formats.catalogue import load_model, save_model
from refquant.formats.onnx.export import OPSET, onnx_model
from refquant.graph.graph import INPUT, Model
from refquant.quant.recipe import quantize_model, uniform
from refquant.verification.golden.file import open_golden
from refquant.verification.golden.record import record_golden

TABLE = Path(__file__).with_suffix(".md")
RECIPES = (("affine", "filter", 4), ("symmetric", "layer", 8), ("affine", "c-shape", 4))
HEAD = "| model | weights | nodes | verdict | decoded weights equal to the bit | ONNX file |"


def exported(model: Model, photo: str, size: int, folder: Path) -> tuple[dict, int, np.ndarray]:
    """The report of verify, the size of the ONNX file in bytes, and the input."""
    record_golden(model, photo, folder / "g.h5", size=size)
    with open_golden(folder / "g.h5") as golden:
        x = golden.output(INPUT)
    save_model(model, folder / "m.h5")
    sides = [str(side) for side in x.shape[2:]]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        refquant(["export", str(folder / "m.h5"), "-o", str(folder / "m.onnx"), "--size", *sides])
        printed.truncate(0), printed.seek(0)
        refquant(["verify", str(folder / "g.h5"), str(folder / "m.onnx"), "--json"])
    return json.loads(printed.getvalue()), (folder / "m.onnx").stat().st_size, x


def equal_weights(model: Model, x: np.ndarray) -> str:
    """How many of the weights that onnxruntime decodes are ours, to the bit."""
    convs = [node for node in model.nodes if node.op == "conv"]
    names = [f"{node.name}.weight" for node in convs]
    found = onnxruntime_outputs(onnx_model(model, x.shape), x, names)
    ours = [node.arrays["weight"].dequantize() for node in convs]
    same = sum(
        found[name].tobytes() == weight.tobytes() for name, weight in zip(names, ours, strict=True)
    )
    return f"{same} of {len(convs)}"


def lines(path: str, photo: str, size: int) -> list[str]:
    """The lines of one model."""
    model, made = load_model(path), []
    for recipe in (None, *RECIPES):
        narrow = model if recipe is None else quantize_model(model, uniform(*recipe))
        with tempfile.TemporaryDirectory() as folder:
            report, size_of_file, x = exported(narrow, photo, size, Path(folder))
        verdicts = Counter(row["verdict"] for row in report["nodes"])
        text = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items())
        weights = "float32" if recipe is None else "{} {} {}".format(*recipe)
        equal = "-" if recipe is None else equal_weights(narrow, x)
        made.append(
            f"| {Path(path).name} | {weights} | {text} | {report['verdict']} | {equal} "
            f"| {size_of_file / 1e6:.2f} MB |"
        )
        print(made[-1], flush=True)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--photo", required=True)
    parser.add_argument("--size", type=int, default=192)
    options = parser.parse_args()
    rows = [line for path in options.models for line in lines(path, options.photo, options.size)]
    head = (
        "# Exported models in onnxruntime\n\nWritten by `python -m bench.accuracy.exports`; see "
        f"its docstring. Opset {OPSET}, onnx {onnx.__version__}, onnxruntime "
        f"{onnxruntime.__version__}; {Path(options.photo).name} letterboxed to {options.size} "
        f"pixels.\n\n{HEAD}\n{'|---' * 6}|\n"
    )
    TABLE.write_text(head + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
