"""Which format a file has, and the names of models that are no files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_model import same, saved, small_model

from refquant.arrays.errors import BadInput
from refquant.formats import catalogue
from refquant.formats.catalogue import FORMATS, Format, load_model, save_model
from refquant.graph.architecture import ARCHITECTURES


def test_every_format_has_a_suffix_of_its_own():
    suffixes = [suffix for item in FORMATS.values() for suffix in item.suffixes]
    assert len(set(suffixes)) == len(suffixes) and all(s == s.lower() for s in suffixes)


def test_the_numbers_of_a_file_are_not_warned_of(tmp_path, monkeypatch):
    """A signalling NaN, cast to float64: NumPy's warning would print, and open, a line of ours."""
    signalling = np.frombuffer(bytes.fromhex("0100807f"), "<f4")

    def read(path, *, fold):
        return signalling.astype(np.float64) + np.float32(3e38) * np.float32(10)

    monkeypatch.setattr(catalogue, "format_of", lambda path: Format("x", (), b"", read))
    assert np.isnan(load_model(tmp_path / "x")).all()
    with pytest.raises(RuntimeWarning):
        read(tmp_path / "x", fold=True)


def test_content_decides_before_the_suffix(tmp_path):
    model = small_model()
    path = saved(model, tmp_path).rename(tmp_path / "model.pt")
    assert same(load_model(path), model)
    assert same(load_model(path.rename(tmp_path / "model")), model)


def test_suffixes_may_be_in_capitals(tmp_path):
    assert same(load_model(saved(small_model(), tmp_path, "MODEL.H5")), small_model())


def test_the_embedded_model_has_a_name():
    assert load_model("demo").folded


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_random_networks_have_names(name, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "refquant.graph.architecture.build", lambda *args, **options: calls.append((args, options))
    )
    load_model(f"random:{name}", fold=False)
    assert calls == [((name,), {"folded": False})]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("random:yolov9", None, "choose yolov7 | yolov7-tiny"),
        ("missing.h5", None, "does not exist"),
        (".", None, "is a directory"),
        ("/dev/null", None, "is not a regular file"),
        ("a" * 300, None, "cannot be read (File name too long)"),
        ("a\0b", None, "does not exist"),
        ("notes.txt", b"dear diary", r"is a text file, not a model: refquant reads .h5"),
        ("empty", b"", "is of an unknown kind"),
        ("empty.h5", b"", "does not begin as an HDF5 file does"),
        ("notes.h5", b"dear diary", "does not begin as an HDF5 file does"),
        ("picture", b"\xff\xd8\xff\xe0", "is of an unknown kind"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(name, content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(BadInput) as error:
        load_model(name)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.pt", "model", "model.onnx"])
def test_only_formats_that_can_be_written_are_written(name, tmp_path):
    with pytest.raises(BadInput, match=r"choose \.h5 | \.hdf5"):
        save_model(small_model(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_importing_the_formats_imports_neither_h5py_nor_numba():
    code = "import sys, refquant.formats.catalogue as _; print({'h5py', 'numba'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
