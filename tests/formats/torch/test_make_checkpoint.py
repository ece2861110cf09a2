"""The checkpoints that tests make are like those that the public training code writes."""

import pickletools

import pytest
from make_checkpoint import HEADS, write
from pickle_writer import Call, Name, New, Outside, dumps

from refquant.formats.torch.archive import open_archive, read_member
from refquant.formats.torch.globals import load, resolve
from refquant.formats.torch.modules import walk_modules
from refquant.formats.torch.unpickle import unpickle

# Attributes that exist or not, depending on the version of PyTorch, and are not read.
VERSIONS = ("hook", "recompute_scale_factor", "name", "inplace")


def pickle_of(path) -> bytes:
    with open_archive(path) as archive:
        return read_member(archive, "data.pkl")


def attributes(path) -> dict[str, set[str]]:
    """Per class the names of its attributes, those of VERSIONS left out."""
    value, _ = unpickle(pickle_of(path), resolve, load)
    found: dict[str, set[str]] = {}
    for _, instance in walk_modules(value["model"]):
        names = {n for n in instance.attributes if not any(part in n for part in VERSIONS)}
        found.setdefault(instance.name, set()).update(names)
    return found


def parts(path) -> dict[str, set[tuple[str, ...]]]:
    """Per class the names of its parameters, buffers and children."""
    value, _ = unpickle(pickle_of(path), resolve, load)
    found: dict[str, set[tuple[str, ...]]] = {}
    for _, instance in walk_modules(value["model"]):
        if instance.kind in ("Sequential", "ModuleList"):
            continue
        own = (instance.attributes[key] for key in ("_parameters", "_buffers", "_modules"))
        found.setdefault(instance.name, set()).add(
            tuple(sorted(name for names in own for name in names))
        )
    return found


def test_a_worked_example():
    """An object with one attribute and a list that occurs twice."""
    shared: list = []
    value = New(Name("models.common", "Conv"), {"f": [shared, shared]})
    expected = b"\x80\x02cmodels.common\nConv\nq\0)\x81q\1}q\2X\1\0\0\0fq\3]q\4(]q\5h\5esb."
    assert dumps(value) == expected


def test_what_is_written_disassembles():
    """Python's own disassembler checks the stack and the memo at every opcode."""
    storage = Outside(("storage", Name("torch", "HalfStorage"), "0", "cpu", 2**40))
    value = [storage, Call(Name("torch", "Size"), ((1, 2, 3, 4),)), {"a": -1, "b": 1.5}, True]
    text = []
    pickletools.dis(
        dumps(value), type("Lines", (), {"write": lambda _, line: text.append(line)})()
    )
    assert "highest protocol among opcodes = 2" in "".join(text)


def test_a_checkpoint_is_the_same_every_time(tmp_path):
    first, second = (write(tmp_path / f"{i}.pt", "yolov7-tiny") for i in range(2))
    other = write(tmp_path / "2.pt", "yolov7-tiny", seed=1)
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("fused", (False, True))
@pytest.mark.parametrize("head", HEADS)
def test_every_variant_has_its_head(tmp_path, head, fused):
    value, _ = unpickle(pickle_of(write(tmp_path / "x.pt", head=head, fused=fused)), resolve, load)
    layers = list(value["model"].attributes["_modules"]["model"].attributes["_modules"].values())
    norms = [i for _, i in walk_modules(value["model"]) if i.kind == "BatchNorm2d"]
    assert layers[-1].kind == head
    assert (norms == []) == fused
    assert ("forward" in layers[-1].attributes) == (fused and head != "Detect")


REAL = {
    ("yolov7", "Detect"): "yolov7-deploy-w8",
    ("yolov7", "IDetect"): "yolov7-training-w8",
    ("yolov7-tiny", "Detect"): "yolov7-tiny-deploy-w4",
    ("yolov7-tiny", "IDetect"): "yolov7-tiny-training-w4",
}


@pytest.mark.parametrize(("architecture", "head"), REAL)
def test_objects_have_the_attributes_of_real_ones(real, tmp_path, architecture, head):
    path = real / "checkpoints" / f"{REAL[architecture, head]}.pt"
    made = write(tmp_path / "x.pt", architecture, head=head)
    found, expected = attributes(made), attributes(path)
    assert set(found) == set(expected)
    for name in expected:
        assert found[name] == expected[name], name
    assert parts(made) == parts(path)


def test_opcodes_and_names_occur_in_real_files(real, tmp_path):
    def used(path):
        operations = list(pickletools.genops(pickle_of(path)))
        names = {argument for op, argument, _ in operations if op.name == "GLOBAL"}
        return {op.name for op, _, _ in operations}, names

    real_opcodes, real_names = set(), set()
    for path in [*(real / "checkpoints").glob("*.pt"), *(real / "weights").glob("*.pt")]:
        opcodes, names = used(path)
        real_opcodes |= opcodes
        real_names |= names
    for head in HEADS:
        opcodes, names = used(write(tmp_path / "x.pt", head=head))
        assert opcodes <= real_opcodes
        assert names <= real_names


def test_storages_are_aligned_as_in_real_files(tmp_path):
    path = write(tmp_path / "x.pt", "yolov7-tiny")
    data = path.read_bytes()
    with open_archive(path) as archive:
        storages = [name for name in archive.members if name.startswith("data/")]
        for name in storages:
            start = data.index(read_member(archive, name), archive.members[name].place)
            assert start % 64 == 0 or archive.members[name].size < 32
    assert storages == [f"data/{i}" for i in range(len(storages))]
