"""What docs/hdf5.md promises: a reader of a page, h5dump, and the size."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from places import ROOT
from small_model import DECODE, quantized, saved

from refquant.graph.architecture import build
from refquant.graph.graph import Model, cast
from refquant.quant.granularity import GRANULARITIES
from refquant.quant.recipe import quantize_model, uniform

DOC = ROOT / "docs" / "hdf5.md"


def example() -> str:
    """The reader in the documentation."""
    (code,) = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    return code


def test_the_reader_in_the_documentation_has_at_most_fifty_lines_and_nothing_of_ours():
    assert len(example().splitlines()) <= 50
    assert "refquant" not in re.sub('"refquant"', "", example())


def run_example() -> dict:
    names: dict = {"__name__": "example"}
    exec(compile(example(), "docs/hdf5.md", "exec"), names)
    return names


@pytest.mark.parametrize("granularity", [*GRANULARITIES, "axes:F,R"])
@pytest.mark.parametrize("scheme", ["affine", "affine:minmax+bc", "symmetric"])
def test_the_reader_in_the_documentation_decodes_to_the_bit(scheme, granularity, tmp_path):
    for bits in (2, 3, 8):
        model = quantized(scheme, granularity, bits)
        root, nodes = run_example()["read"](saved(model, tmp_path))
        assert [name for name, _, _ in nodes] == [node.name for node in model.nodes]
        assert root["class_names"] == ["person"]
        for (_, _, arrays), node in zip(nodes, model.nodes, strict=True):
            for name, array in cast(node, np.float32).arrays.items():
                expected = array.dequantize() if name == "weight" else array
                assert arrays[name].tobytes() == expected.tobytes()


def test_the_reader_in_the_documentation_runs_as_a_program(tmp_path):
    (tmp_path / "reader.py").write_text(example())
    path = saved(quantized(), tmp_path)
    run = subprocess.run(
        [sys.executable, "reader.py", path], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0 and f"{DECODE} decode" in run.stdout


def test_h5dump_reads_the_file(tmp_path):
    program = shutil.which("h5dump")
    if program is None:
        pytest.skip("h5dump is not installed")
    path = saved(quantized(), tmp_path)
    run = subprocess.run([program, path], capture_output=True, text=True)
    assert run.returncode == 0 and "zero_point" in run.stdout


@pytest.fixture(scope="module")
def yolov7() -> Model:
    """The network of full size with random weights."""
    return build("yolov7")


@pytest.mark.slow
@pytest.mark.parametrize(("params_dtype", "ratio"), [("float32", 3.92), ("float16", 3.94)])
def test_yolov7_with_four_bits_is_smaller_than_fp16_by_the_promised_ratio(
    params_dtype, ratio, yolov7, tmp_path
):
    model = quantize_model(yolov7, uniform(params_dtype=params_dtype))
    model = replace(model, class_names=tuple(f"a class of number {i:02}" for i in range(80)))
    nodes = [
        replace(node, arrays={**node.arrays, "bias": node.arrays["bias"].astype(params_dtype)})
        if "bias" in node.arrays
        else node
        for node in model.nodes
    ]
    path = saved(model.with_nodes(tuple(nodes)), tmp_path)
    assert 2 * yolov7.parameters / path.stat().st_size >= ratio
