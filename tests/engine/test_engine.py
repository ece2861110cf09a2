"""The engine: the bits of the walk node by node, in all its ways of running."""

import hashlib
import json
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from arrays_of_interest import same_bits
from places import TESTS
from small_graphs import awkward, conv_node, model_of, pool_node
from whole_numbers import model_of_whole_numbers

from refquant.arrays.errors import BadInput
from refquant.arrays.packed import pack_weights
from refquant.engine import bands, engine
from refquant.engine import walk as walk_module
from refquant.engine.engine import engine_of, prepared
from refquant.engine.panels import PackedPanels, Panels
from refquant.engine.plan import can_plan, plan
from refquant.engine.sized_model import SizedModel
from refquant.engine.steps import BORDER, KINDS
from refquant.engine.walk import run, walk, walk_node_by_node
from refquant.graph.architecture import build
from refquant.graph.graph import INPUT, Model, Node

GOLDEN = TESTS / "goldens" / "forward.json"
THREADS = (1, 2, 3, 7)


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).random(shape, dtype=np.float32)


@pytest.mark.parametrize("model", [build("yolov7", 1 / 8), build("yolov7-tiny", 1 / 4), awkward()])
def test_walk_and_run_have_the_bits_of_the_walk_node_by_node(model):
    x = image(2, 3, 96, 160)
    assert can_plan(model)
    for threads in THREADS:
        for (node, fast), (other, plain) in zip(
            walk(model, x, threads=threads), walk_node_by_node(model, x, "fast", 1), strict=True
        ):
            assert node is other
            assert same_bits(fast, plain), node.name
        assert same_bits(run(model, x, threads=threads), plain)


@pytest.mark.parametrize("exit_rows", [1, 3, 1000])
def test_the_number_of_bands_changes_no_bit(monkeypatch, exit_rows):
    monkeypatch.setattr(bands, "EXIT_ROWS", exit_rows)
    model, x = build("yolov7", 1 / 4), image(1, 3, 160, 128)
    assert plan(model, 160, 128).stem.bands == -(-20 // exit_rows)
    *_, (_, expected) = walk_node_by_node(model, x, "fast", 1)
    assert same_bits(run(model, x, threads=2), expected)


def test_a_network_that_runs_again_gives_the_same_bits_and_other_images_others():
    model, x = build("yolov7-tiny", 1 / 4), image(2, 3, 64, 64)
    first, other = run(model, x[:1]), run(model, x[1:])
    assert not same_bits(first, other)
    assert same_bits(run(model, x[:1]), first)
    assert len(engine_of(model).idle) == 1


@pytest.mark.parametrize("in_bands", [True, False])
@pytest.mark.parametrize("model", [build("yolov7", 1 / 8), build("yolov7-tiny", 1 / 4), awkward()])
def test_what_memory_held_before_changes_no_bit(model, in_bands):
    def found(before: float, left_out: int = -1) -> np.ndarray:
        sized = SizedModel(prepared(model), 192, 160, 2, in_bands=in_bands)
        sized.arena.view(np.float32)[:] = before
        sized.program.scratch.view(np.float32)[:] = before
        steps = sized.program.steps
        steps["kind"][steps["kind"] == left_out] = len(KINDS)  # of no kind: nothing is done
        predictions = np.empty((sized.rows, sized.entries), np.float32)
        sized.run(image(3, 192, 160), predictions)
        return predictions

    expected = found(0)
    assert same_bits(found(np.nan), expected)
    assert same_bits(found(1e30), expected)
    assert not same_bits(found(np.nan, left_out=BORDER), expected)


def test_networks_of_different_sizes_do_not_disturb_each_other():
    model = build("yolov7-tiny", 1 / 4)
    sizes = [(64, 64), (96, 64), (64, 128), (64, 64)]
    before = [run(model, image(1, 3, *size)) for size in sizes]
    after = [run(model, image(1, 3, *size)) for size in reversed(sizes)][::-1]
    assert all(map(same_bits, before, after))
    assert len(engine_of(model).idle) == engine.MOST_IDLE


def test_two_walks_at_once_do_not_disturb_each_other():
    model, x = build("yolov7-tiny", 1 / 4), image(2, 3, 64, 64)
    alone = [y for _, y in walk(model, x[:1])]
    both = zip(walk(model, x[:1]), walk(model, x[1:]))
    assert all(same_bits(y, expected) for ((_, y), _), expected in zip(both, alone))


def test_a_model_that_has_run_cannot_be_changed_unnoticed():
    model = build("yolov7-tiny", 1 / 8)
    run(model, image(1, 3, 64, 64))
    with pytest.raises(ValueError, match="read-only"):
        model.nodes[0].arrays["weight"][0] = 0


def test_threads_that_ask_at_once_get_one_engine(monkeypatch):
    model, barrier, made = build("yolov7-tiny", 1 / 8), threading.Barrier(8), []

    def slowly(model):
        made.append(model)
        threading.Event().wait(0.05)
        return engine_class(model)

    engine_class = engine.Engine
    monkeypatch.setattr(engine, "Engine", slowly)
    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(lambda _: barrier.wait() + 1 and engine_of(model), range(8)))
    assert len(made) == 1
    assert all(one is engines[0] for one in engines)


def test_a_run_node_by_node_does_not_keep_maps_that_nobody_needs(monkeypatch):
    model, outputs, alive = build("yolov7-tiny", 1 / 8, folded=False), [], []
    run_node = walk_module.run_node

    def watched(*arguments):
        alive.append(sum(one() is not None for one in outputs))
        y = run_node(*arguments)
        outputs.append(weakref.ref(y))
        return y

    monkeypatch.setattr(walk_module, "run_node", watched)
    run(model, image(1, 3, 64, 64))
    nodes = model.nodes
    needed = [
        sum(any(a.name in b.inputs for b in nodes[i:]) for a in nodes[:i])
        for i in range(len(nodes))
    ]
    assert all(count <= need + 1 for count, need in zip(alive, needed, strict=True))  # + the last


def test_the_engine_goes_with_its_model():
    model = build("yolov7-tiny", 1 / 8)
    run(model, image(1, 3, 64, 64))
    key = id(model)
    assert key in engine._engines
    del model
    assert key not in engine._engines


def test_the_panels_of_a_model_follow_one_another_on_cache_lines():
    nodes = prepared(build("yolov7", 1 / 8)).nodes
    weights = [node.arrays["weight"].weight for node in nodes if node.op == "conv"]
    begins = [weight.ctypes.data for weight in weights]
    ends = [weight.ctypes.data + weight.nbytes for weight in weights]
    assert begins[1:] == ends[:-1]
    assert not any(begin % 64 for begin in begins)


def test_a_prepared_model_decodes_to_the_same_weights_and_runs_to_the_same_bits():
    model, x = build("yolov7", 1 / 8), image(1, 3, 64, 64)
    ready = prepared(model)
    for plain, panels in zip(model.nodes, ready.nodes, strict=True):
        if plain.op == "conv":
            assert isinstance(panels.arrays["weight"], Panels)
            assert same_bits(panels.arrays["weight"].dequantize(), plain.arrays["weight"])
    again = prepared(ready)
    assert all(
        a.arrays["weight"] is b.arrays["weight"]
        for a, b in zip(ready.nodes, again.nodes)
        if a.op == "conv"
    )
    assert same_bits(run(ready, x), run(model, x))


def test_packed_weights_run_to_the_bits_of_the_dequantized_ones():
    plain, packed, x = build("yolov7-tiny", 1 / 4), [], image(1, 3, 64, 96)
    rng = np.random.default_rng(3)
    for node in plain.nodes:
        if node.op == "conv":
            shape = node.arrays["weight"].shape
            scale = np.full(shape[0], 0.5 / np.sqrt(np.prod(shape[1:])))
            codes = rng.integers(0, 16, shape).astype(np.uint8)
            weight = pack_weights(codes, 4, scale=scale, zero_point=np.full(shape[0], 8))
            node = replace(node, arrays={**node.arrays, "weight": weight})
        packed.append(node)
    model = plain.with_nodes(tuple(packed))
    assert all(
        isinstance(n.arrays["weight"], PackedPanels)
        for n in prepared(model).nodes
        if n.op == "conv"
    )
    decoded = model.with_nodes(
        tuple(
            replace(n, arrays={**n.arrays, "weight": n.arrays["weight"].dequantize()})
            if n.op == "conv"
            else n
            for n in packed
        )
    )
    assert same_bits(run(model, x, threads=2), run(decoded, x))
    assert not same_bits(run(model, x), run(plain, x))


def test_a_graph_that_is_not_folded_runs_node_by_node():
    model, x = build("yolov7-tiny", 1 / 8, folded=False), image(1, 3, 64, 64)
    assert not can_plan(model)
    *_, (_, expected) = walk_node_by_node(model, x, "ref", 1)
    assert same_bits(run(model, x), expected)


@pytest.mark.parametrize(
    "reader",
    [
        pool_node("reader", "s2d", 2, 2, 0),
        Node("reader", "add", ("s2d", "s2d")),
        Node("reader", "upsample", ("s2d",), {"scale": 2}),
        Node("reader", "concat", ("s2d", "s2d")),
    ],
    ids=lambda node: node.op,
)
def test_what_reads_the_space_to_depth_of_the_image_without_a_convolution_is_right_too(reader):
    channels = 24 if reader.op == "concat" else 12
    s2d = Node("s2d", "space_to_depth", (INPUT,))
    model, x = model_of(s2d, reader, conv_node("c", "reader", channels, 6)), image(1, 3, 64, 96)
    *_, (_, expected) = walk_node_by_node(model, x, "fast", 1)
    assert same_bits(run(model, x), expected)
    assert all(
        same_bits(y, z)
        for (_, y), (_, z) in zip(
            walk(model, x), walk_node_by_node(model, x, "fast", 1), strict=True
        )
    )


def test_a_decode_of_the_space_to_depth_of_the_image_runs():
    model, x = model_of(Node("s2d", "space_to_depth", (INPUT,))), image(1, 3, 64, 96)
    *_, (_, expected) = walk_node_by_node(model, x, "fast", 1)
    assert same_bits(run(model, x), expected)


def test_a_concat_that_copies_is_right_in_bands():
    # "outer" has "inner", which has "a" already: "a" is copied a second time, band by band.
    nodes = (
        conv_node("a", INPUT, 3, 20, 3, 2),
        conv_node("b", "a", 20, 16, 3),
        Node("inner", "concat", ("b", "a")),
        Node("outer", "concat", ("inner", "a")),
        conv_node("c", "outer", 56, 16, 3, 2),
        conv_node("d", "c", 16, 16, 3, 2),
    )
    model, x = model_of(*nodes, conv_node("e", "d", 16, 6)), image(1, 3, 320, 64)
    found = plan(model, 320, 64)
    assert (found.stem.length, found.stem.bands) == (6, 2)
    *_, (_, expected) = walk_node_by_node(model, x, "fast", 1)
    for threads in THREADS:
        assert same_bits(run(model, x, threads=threads), expected)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("threads", THREADS)
def test_a_pooling_that_a_convolution_does_has_its_bits(size, threads):
    """Rows that no window covers, more filters than an item has, negative and special numbers."""
    model = model_of(
        conv_node("a", INPUT, 3, 144, 3, activation="linear"),
        pool_node("b", "a", size, size, 0),
        conv_node("c", "b", 144, 6),
    )
    x = image(1, 3, 64, 88) - np.float32(0.5)
    x[0, 0, 5, 7], x[0, 1, 20, 20] = np.nan, -np.inf
    assert plan(model, 64, 88).pools
    for (_, fast), (_, plain) in zip(
        walk(model, x, threads=threads), walk_node_by_node(model, x, "ref", 1), strict=True
    ):
        assert same_bits(fast, plain)


def test_a_pooling_that_a_convolution_does_keeps_the_first_of_two_zeros():
    """SiLU makes zeros of both signs; of equal numbers the first counts, row by row."""
    first = conv_node("a", INPUT, 3, 16)
    weight, bias = np.zeros((16, 3, 1, 1), np.float32), np.zeros(16, np.float32)
    weight[:, 0] = 1
    first = replace(first, arrays={"weight": weight, "bias": bias})
    model = model_of(first, pool_node("b", "a", 2, 2, 0), conv_node("c", "b", 16, 6))
    x = np.zeros((1, 3, 32, 32), np.float32)
    x[0, 0] = np.random.default_rng(2).choice([0, -1000, -1], (32, 32))  # to +0.0, -0.0, -0.27
    maps = {node.name: y for node, y in walk(model, x)}
    windows = maps["a"].reshape(1, 16, 16, 2, 16, 2).swapaxes(3, 4)
    by_rows, by_columns = windows, windows.swapaxes(4, 5)
    first_largest = [
        np.take_along_axis(w, w.argmax(-1)[..., None], -1)[..., 0]
        for w in (w.reshape(1, 16, 16, 16, 4) for w in (by_rows, by_columns))
    ]
    assert same_bits(maps["b"], first_largest[0])
    assert not same_bits(maps["b"], first_largest[1])


@pytest.mark.parametrize("threads", THREADS)
def test_a_pooling_that_a_convolution_does_in_bands_has_its_bits(monkeypatch, threads):
    monkeypatch.setattr(bands, "EXIT_ROWS", 3)
    model = model_of(
        conv_node("a", INPUT, 3, 24, 3, 2),
        pool_node("b", "a", 2, 2, 0),
        conv_node("c", "b", 24, 24, 3, 2),
        conv_node("d", "c", 24, 6),
    )
    found = plan(model, 64, 96)
    assert found.stem.bands == 3
    assert found.pools
    x = image(1, 3, 64, 96)
    *_, (_, expected) = walk_node_by_node(model, x, "ref", 1)
    assert same_bits(run(model, x, threads=threads), expected)


def test_a_sum_of_one_map_is_that_map():
    model = build("yolov7-tiny", 1 / 8, classes=3)
    first, *others = model.nodes
    renamed = [
        replace(n, inputs=tuple("sum" if name == first.name else name for name in n.inputs))
        for n in others
    ]
    longer = model.with_nodes((first, Node("sum", "add", (first.name,)), *renamed))
    assert same_bits(run(longer, image(1, 3, 64, 64)), run(model, image(1, 3, 64, 64)))


def test_a_wrong_arithmetic_and_a_wrong_shape_are_refused():
    model = build("yolov7-tiny", 1 / 8)
    with pytest.raises(BadInput, match="choose fast"):
        run(model, image(1, 3, 64, 64), arithmetic="exact")
    with pytest.raises(BadInput, match="multiples of 32"):
        run(model, image(1, 3, 64, 65))
    with pytest.raises(BadInput, match="x: list is no array"):
        run(model, [[0.0]])


@pytest.mark.parametrize("threads", [0, -1, 1.5, 10**6])
@pytest.mark.parametrize("go", [run, lambda *a, **k: list(walk(*a, **k))], ids=["run", "walk"])
def test_a_number_of_threads_that_cannot_be_is_refused(go, threads):
    with pytest.raises(BadInput, match=r"choose 1 \.\.\. 1024"):
        go(build("yolov7-tiny", 1 / 8), image(1, 3, 64, 64), threads=threads)


def hashes(model: Model, x: np.ndarray, threads: int) -> dict[str, str]:
    """sha256 of every node's output."""
    return {
        node.name: hashlib.sha256(y.tobytes()).hexdigest()
        for node, y in walk(model, x, threads=threads)
    }


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("name", ["yolov7", "yolov7-tiny"])
def test_outputs_have_the_golden_hashes(name, threads):
    golden = json.loads(GOLDEN.read_text())[name]
    model, x = model_of_whole_numbers(name)
    assert hashes(model, x, threads) == golden
    assert (
        hashlib.sha256(run(model, x, threads=threads).tobytes()).hexdigest()
        == list(golden.values())[-1]
    )


def test_a_flipped_bit_changes_golden_hashes():
    golden = json.loads(GOLDEN.read_text())["yolov7-tiny"]
    model, x = model_of_whole_numbers("yolov7-tiny")
    x.view(np.uint32)[0, 0, 7, 7] ^= 1 << 12
    assert hashes(model, x, 1) != golden


def test_a_network_has_one_arena():
    ready = prepared(build("yolov7-tiny", 1 / 8))
    sized = SizedModel(ready, 64, 64, 1)
    assert sized.arena.nbytes == sized.plan.size
