"""The pickle reader: what it reads, what it refuses, and that it never runs anything."""

import ast
import os
import pickle
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.formats.torch import globals as torch_globals
from refquant.formats.torch import pickle_machine
from refquant.formats.torch import unpickle as module
from refquant.formats.torch.globals import BoundMethod, Storage, Tensor, load, resolve
from refquant.formats.torch.pickle_machine import Ignored, Instance
from refquant.formats.torch.unpickle import unpickle


def read(data: bytes):
    """The value of a pickle that ends where the data end."""
    value, end = unpickle(data, resolve, load)
    assert end == len(data)
    return value


def test_a_worked_example():
    """PROTO 2, {, "a", [, MARK, 1, 2.5, True, None, TUPLE2, APPENDS, SETITEM, STOP."""
    data = b"\x80\x02}X\x01\0\0\0a](K\x01G\x40\x04\0\0\0\0\0\0\x88N\x86es."
    assert read(data) == {"a": [1, 2.5, (True, None)]}


PLAIN = (
    None,
    [True, False],
    [0, 255, 256, 65535, 65536, -1, 2**31 - 1, -(2**31), 2**31, -(2**63), 2**100],
    [0.0, -1.5, 1e300, float("inf")],
    ["", "person", "größer", "\U0001f40d", "x" * 300],
    [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    {"a": {0: "b", -1: [{}], None: [[]]}, True: (1, (2, (3,)))},
    [["same"] * 3, list(range(3000)), {str(i): i for i in range(3000)}],
)


@pytest.mark.parametrize("protocol", (2, 3, 4, 5))
@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_plain_data_are_read_as_python_reads_them(value, protocol):
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", (3, 4, 5))
def test_bytes_are_read_as_python_reads_them(protocol):
    """Protocol 2 has none: it writes them as a call of _codecs.encode, which is passed over."""
    value = [b"", b"\x00\xff", b"y" * 300]
    assert read(pickle.dumps(value, protocol)) == value
    assert type(read(pickle.dumps(b"y", 2))) is Ignored


def test_a_list_within_itself_is_read():
    loop: list = []
    loop.append(loop)
    found = read(pickle.dumps(loop, 2))
    assert found[0] is found


def test_a_value_that_is_used_twice_is_one_object():
    shared = ["x"]
    first, second = read(pickle.dumps([shared, shared], 2))
    assert first is second


def test_a_set_is_read_as_a_list():
    for protocol in (2, 4):
        assert read(pickle.dumps({7}, protocol)) == [7]


def test_a_second_pickle_begins_where_the_first_ends():
    data = pickle.dumps("one", 2) + pickle.dumps("two", 2)
    first, end = unpickle(data, resolve, load)
    assert (first, unpickle(data, resolve, load, end)) == ("one", ("two", len(data)))


def test_classes_of_a_network_become_inert():
    data = b"\x80\x02cmodels.common\nConv\n)\x81}X\x01\0\0\0iK\x07sb."
    found = read(data)
    assert type(found) is Instance
    assert (found.name, found.kind) == ("models.common.Conv", "Conv")
    assert found.attributes == {"i": 7}


def test_a_tensor_becomes_a_claim_about_a_storage():
    storage = b"(X\x07\0\0\0storagectorch\nHalfStorage\nX\x01\0\0\x005X\x03\0\0\0cpuK\x06tQ"
    data = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + b"K\0K\x02K\x03\x86K\x03K\x01\x86"
    )
    found = read(data + b"\x89ccollections\nOrderedDict\n)RtR.")
    assert found == Tensor(Storage("HalfStorage", "5", 6), 0, (2, 3), (3, 1))


def test_a_size_is_a_tuple():
    assert read(b"\x80\x02ctorch\nSize\nK\x02K\x03\x86\x85R.") == (2, 3)


def test_a_bound_method_is_a_note():
    data = b"\x80\x02c__builtin__\ngetattr\ncmodels.common\nConv\n)\x81X\x07\0\0\0forward\x86R."
    assert read(data) == BoundMethod("forward")


def test_numpy_numbers_are_passed_over():
    assert read(pickle.dumps(np.zeros(1), 2)) == Ignored(
        "numpy._core.multiarray._reconstruct"
    ) or (read(pickle.dumps(np.zeros(1), 2)) == Ignored("numpy.core.multiarray._reconstruct"))
    assert type(read(pickle.dumps(np.float64(0.5), 2))) is Ignored
    assert type(read(pickle.dumps(Path("best.pt"), 2))) is Ignored


# What must be refused.


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", (0, 1, 2, 4, 5))
def test_a_pickle_that_calls_the_shell_is_refused_by_name_and_does_nothing(tmp_path, protocol):
    witness = tmp_path / "witness"
    data = pickle.dumps(Call(os.system, f"touch {witness}"), protocol)
    with pytest.raises(BadInput, match=rf"{os.name}\.system.*nothing was run"):
        read(data)
    assert not witness.exists()
    pickle.loads(data)  # the twin: Python's own reader runs it
    assert witness.exists()


@pytest.mark.parametrize(
    "name",
    (
        *(
            "os.system",
            "builtins.eval",
            "builtins.exec",
            "__builtin__.eval",
            "builtins.__import__",
        ),
        *("builtins.open", "subprocess.Popen", "importlib.import_module", "runpy.run_path"),
        *("torch.load", "torch.storage._load_from_bytes", "torch.hub.load", "torch.jit.load"),
        *("copyreg._reconstructor", "operator.attrgetter", "functools.partial", "pickle.loads"),
        *("numpy.load", "numpy.core.multiarray.fromfile", "collections.OrderedDict.fromkeys"),
        *("modelsx.Conv", "torch.nn.functional.relu", "types.CodeType", "", ".", "torch."),
    ),
)
def test_a_name_outside_of_the_table_is_refused(name):
    head, _, tail = name.rpartition(".")
    for data in (
        b"\x80\x02c%b\n%b\n)R." % (head.encode(), tail.encode()),
        b"\x80\x04\x8c%c%b\x8c%c%b\x93)R." % (len(head), head.encode(), len(tail), tail.encode()),
    ):
        with pytest.raises(BadInput, match="which no checkpoint needs"):
            read(data)


def test_nothing_is_imported():
    assert "antigravity" not in sys.modules
    with pytest.raises(BadInput):
        read(b"\x80\x02cantigravity\nfly\n.")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("file", (module, pickle_machine, torch_globals), ids=lambda m: m.__name__)
def test_the_reader_has_no_means_to_run_what_a_file_names(file):
    tree = ast.parse(Path(file.__file__).read_text(encoding="utf-8"))
    imported, used = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module)
        if isinstance(node, ast.Name):
            used.add(node.id)
    allowed = {"pickletools", "struct", "collections.abc", "dataclasses", "typing"}
    assert {name for name in imported if not name.startswith("refquant.")} <= allowed
    assert not used & {"eval", "exec", "compile", "getattr", "setattr", "__import__", "globals"}


NEW = b"cmodels.common\nConv\n)\x81"
BROKEN = {
    "no stop": b"\x80\x02N",
    "nothing": b"",
    "an empty stack": b"\x80\x02.",
    "two values": b"\x80\x02NN.",
    "an open mark": b"\x80\x02N(.",
    "a value below the mark": b"\x80\x02N(\x85.",
    "no mark": b"\x80\x02Nt.",
    "a protocol of the future": b"\x80\x06N.",
    "an opcode that is none": b"\x80\x02\xffN.",
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"\x80\x02(cmodels.common\nConv\no.",
    "an extension code": b"\x80\x02\x82\x01.",
    "NEWOBJ_EX": b"\x80\x04\x8c\x06models\x8c\x04Conv\x93)}\x92.",
    "a persistent id of text": b"\x80\x02Pabc\n.",
    "a persistent id of a number": b"\x80\x02K\x01Q.",
    "a storage of no known type": b"\x80\x02(X\x07\0\0\0storagecmodels.x\nA\nX\0\0\0\0NK\x01tQ.",
    "an empty place in the memo": b"\x80\x02h\x05.",
    "a frame without end": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
    "a text of 4 GiB": b"\x80\x02X\xff\xff\xff\xffabc.",
    "bytes of 4 GiB": b"\x80\x03B\xff\xff\xff\xffabc.",
    "a text that is not UTF-8": b"\x80\x02X\x01\0\0\0\xff.",
    "a number of 255 bytes": b"\x80\x02\x8a\xff" + b"\1" * 255 + b".",
    "a global without end": b"\x80\x02c" + b"a" * 1000,
    "a global of numbers": b"\x80\x04K\1K\2\x93.",
    "a global of 512 KiB": b"\x80\x02X\0\0\x08\0" + b"a" * 2**19 + b"X\0\0\0\0\x93.",
    "a call of a number": b"\x80\x02K\1)R.",
    "a call with a list": b"\x80\x02cmodels.common\nConv\n]R.",
    "a class with arguments": b"\x80\x02cmodels.common\nConv\nK\1\x85R.",
    "a call of a storage type": b"\x80\x02ctorch\nHalfStorage\n)R.",
    "a tensor of nothing": b"\x80\x02ctorch._utils\n_rebuild_tensor\n(NK\0))tR.",
    "a parameter of nothing": b"\x80\x02ctorch._utils\n_rebuild_parameter\nNN)\x87R.",
    "a set of a number": b"\x80\x02c__builtin__\nset\nK\1\x85R.",
    "a size of a number": b"\x80\x02ctorch\nSize\nK\1\x85R.",
    "getattr of a class": b"\x80\x02c__builtin__\ngetattr\ncmodels.x\nA\nX\0\0\0\0\x86R.",
    "an item for a tuple": b"\x80\x02)Na.",
    "a pair for a list": b"\x80\x02]NNs.",
    "a key without a value": b"\x80\x02}(Nu.",
    "a key that is a tuple": b"\x80\x02})Ns.",
    "a key that is a number": b"\x80\x02}G\0\0\0\0\0\0\0\0Ns.",
    "a key above 2**31": b"\x80\x02}\x8a\x05\0\0\0\0\x01Ns.",
    "a state of a list": b"\x80\x02" + NEW + b"]b.",
    "a second state": b"\x80\x02" + NEW + b"}b}b.",
    "a state for a text": b"\x80\x02X\0\0\0\0}b.",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_a_malformed_pickle_is_refused_in_one_line(data):
    with pytest.raises(BadInput) as caught:
        unpickle(data, resolve, load)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_every_cut_is_refused():
    whole = pickle.dumps([{"a": [1, 2.5, "b"], "c": (None, True)}, 2**70, b"d"], 4)
    for length in range(len(whole)):
        with pytest.raises(BadInput):
            unpickle(whole[:length], resolve, load)


def test_damage_gives_a_value_or_bad_input_and_nothing_else():
    rng = np.random.default_rng(0)
    whole = bytearray(pickle.dumps([{"a": [1, 2.5], "c": (None, True)}, {3}, Path("x")], 2))
    refused = 0
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(whole))] = rng.integers(256)
        try:
            unpickle(bytes(damaged), resolve, load)
        except BadInput:
            refused += 1
    assert 1000 < refused < 3000


# What would exhaust memory, time or the interpreter's own stack.


def test_depth_does_not_matter():
    """200,000 tuples, each in the next: no recursion while reading, none while freeing."""
    found = read(b"\x80\x02)" + b"\x85" * 200_000 + b".")
    depth = 0
    while found:
        (found,), depth = found, depth + 1
    assert depth == 200_000


def test_the_numbers_of_memo_places_cost_nothing():
    """Python's own reader keeps an array of as many places as the largest number says."""
    assert read(b"\x80\x02Nr\xff\xff\xff\xff.") is None


@pytest.mark.parametrize("opcode", (b"]", b"}", b"(", b"\x8f", b"N"))
def test_open_values_are_limited(opcode):
    with pytest.raises(BadInput, match="open at once"):
        read(b"\x80\x02" + opcode * 2**17 + b".")


def test_the_memo_is_limited(monkeypatch):
    monkeypatch.setattr(pickle_machine, "MAX_MEMO", 10)
    assert read(b"\x80\x04N" + b"\x94" * 10 + b".") is None
    with pytest.raises(BadInput, match="more than 10 values are in the memo"):
        read(b"\x80\x04N" + b"\x94" * 11 + b".")


FILLED = b"(" + b"}" * 1000 + b"e"
COSTLY = {  # as many as are allowed of what costs most
    "memo": b"N" + b"\x94" * 2**18 + b".",
    "dictionaries": b"]" + FILLED * (3 * 2**18 // 1002 - 1) + b".",
    "both": b"]" + (FILLED[:-1] + b"\x94" * 500 + b"e") * 520 + b".",
    "objects": b"]" + (b"(cmodels.c\nA\nq\0)\x81" + b"h\0)\x81" * 300 + b"e") * 860 + b".",
    "texts": b"]" + (b"(" + b"\x8c\x02ab" * 1000 + b"e") * 780 + b".",
}


@pytest.mark.slow
@pytest.mark.parametrize("data", COSTLY.values(), ids=COSTLY.keys())
def test_no_pickle_needs_more_memory_than_is_promised(data):
    """Twice its size and 64 MiB, counted by Python itself."""
    data = b"\x80\x04" + data
    tracemalloc.start()
    unpickle(data, resolve, load)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 2**24 < peak < 2 * len(data) + 2**26


def test_the_number_of_opcodes_is_limited(monkeypatch):
    monkeypatch.setattr(module, "MAX_OPCODES", 1000)
    assert read(b"\x80\x02)" + b"\x85" * 996 + b".")
    with pytest.raises(BadInput, match="more than 1000 opcodes"):
        read(b"\x80\x02)" + b"\x85" * 999 + b".")


def test_the_length_is_limited(monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(BadInput, match="11 bytes are more than 10"):
        read(b"\x80\x02X\3\0\0\0abc.")


def test_a_state_is_kept_and_not_copied():
    """A large dictionary as the state of many objects would cost its size for each."""
    data = b"\x80\x02]q\0(" + NEW + b"}q\1b" + (NEW + b"h\1b") * 3 + b"e."
    found = read(data)
    assert len({id(instance.attributes) for instance in found}) == 1


def test_a_message_does_not_follow_nested_values():
    """repr of 60 lists, each twice in the next, would have 2**60 parts."""
    value: list = []
    for _ in range(60):
        value = [value, value]
    assert pickle_machine.shown(value) == "(list, list)"
    assert pickle_machine.shown("x" * 1000) == repr("x" * 80)
    assert pickle_machine.shown([1, 2.5, "a"]) == "(1, 2.5, str)"
