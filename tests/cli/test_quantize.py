"""`refquant quantize`: options that reach the file, and refusals in one line."""

import json

import numpy as np
import pytest

from refquant.cli.main import main
from refquant.formats.catalogue import load_model, save_model
from refquant.graph.architecture import build
from refquant.quant.tensor import QuantizedTensor

MODEL = {"width": 0.0625, "classes": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folded and an unfolded model on disk."""
    path = tmp_path_factory.mktemp("models")
    save_model(build("yolov7-tiny", **MODEL), path / "tiny.h5")
    save_model(build("yolov7", folded=False, **MODEL), path / "raw.h5")
    return path


def weights(path):
    model = load_model(path, fold=False)
    return {node.name: node.arrays["weight"] for node in model.nodes if node.op == "conv"}


def test_the_file_holds_what_was_asked_for_and_the_json_says_so(folder, capsys):
    target = folder / "q.h5"
    recipe = "model.0.conv skip; model.77.* symmetric layer 8"
    code = main(["quantize", str(folder / "tiny.h5"), "-o", str(target), "--recipe", recipe,
                 "--scheme", "pwlq:search", "--granularity", "c-shape", "--bits", "3",
                 "--params-dtype", "float16", "--bias-dtype", "float16", "--json"])  # fmt: skip
    assert code == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bytes"]["file"] == target.stat().st_size
    assert load_model(target).source["recipe"].startswith(recipe.partition(";")[0])
    stored = weights(target)
    assert isinstance(stored["model.0.conv"], np.ndarray)
    assert stored["model.77.m.0"].bits == 8
    other = stored["model.1.conv"]
    assert (other.scheme, other.granularity, other.bits) == ("pwlq:search", "c-shape", 3)
    assert other.params["breakpoint"].dtype == np.float16
    assert load_model(target)["model.1.conv"].arrays["bias"].dtype == np.float16


def test_before_folding_keeps_the_raw_layers_and_the_file_still_runs(folder, capsys):
    target = folder / "before.h5"
    name = str(folder / "raw.h5")
    assert main(["quantize", name, "-o", str(target), "--before-folding", "--bits", "6"]) == 0
    raw = load_model(target, fold=False)
    assert not raw.folded
    assert all(isinstance(w, QuantizedTensor) for w in weights(target).values())
    assert any(node.op == "batch_norm" for node in raw.nodes)
    assert load_model(target).folded
    capsys.readouterr()


@pytest.mark.parametrize("options", [["--before-folding"], []])
def test_info_counts_what_is_stored_before_folding_and_after_it(folder, capsys, options):
    target = folder / "counted.h5"
    assert main(["quantize", str(folder / "raw.h5"), "-o", str(target), *options, "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert main(["info", str(target), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [shown[key] for key in ("bytes", "ratios", "layers")] == [
        written[key] for key in ("bytes", "ratios", "layers")
    ]
    assert {row["code_bits"] for row in shown["layers"]} == {4}


def test_a_combination_is_written_layer_by_layer(folder, capsys):
    target = folder / "combined.h5"
    arguments = ["--granularity", "filter+f-shape+c-shape", "--bits", "4"]
    assert main(["quantize", str(folder / "tiny.h5"), "-o", str(target), *arguments]) == 0
    used = {tensor.granularity for tensor in weights(target).values()}
    assert len(used) > 1
    assert used <= {"filter", "f-shape", "c-shape"}
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "saving"),
    [
        ([], 3.92),
        (["--params-dtype", "float16", "--bias-dtype", "float16"], 3.94),
        (["--scheme", "pwlq"], 3.14),
    ],
)
def test_full_size_yolov7_is_as_small_on_disk_as_the_documentation_says(
    tmp_path, capsys, options, saving
):
    target = tmp_path / "q.h5"
    assert main(["quantize", "random:yolov7", "-o", str(target), *options, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bytes"]["file"] == target.stat().st_size
    assert saving <= 2 * (result["bytes"]["fp32"] // 4) / target.stat().st_size < saving + 0.01


@pytest.mark.parametrize(
    "arguments",
    [["--bits", "9"], ["--scheme", "affin"], ["--granularity", "axes:Q"], ["--recipe", "x y"],
     ["--granularity", "filter+c-shape:budget=50"], ["--params-dtype", "int8"],
     ["--bias-dtype", "int8"], ["--recipe", "nothing.* skip"], ["--recipe", "nofile.txt"],
     ["--before-folding"]],
)  # fmt: skip
def test_bad_options_get_one_line_and_leave_no_file(folder, capsys, arguments):
    target = folder / "bad.h5"
    assert main(["quantize", str(folder / "tiny.h5"), "-o", str(target), *arguments]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    assert not target.exists()


def test_a_quantized_file_is_not_quantized_again(folder, capsys):
    target = folder / "once.h5"
    assert main(["quantize", str(folder / "raw.h5"), "-o", str(target), "--before-folding"]) == 0
    assert main(["quantize", str(target), "-o", str(folder / "twice.h5")]) == 3
    assert "is quantized already" in capsys.readouterr().err
