"""A faulty port for every cause of the catalogue: CASES, with the name that each must get.

The faulty outputs come from the functions below: float32, written for the tests, not by the
catalogue's own trials.
"""

from dataclasses import replace

import numpy as np

from refquant.engine.walk import run_node
from refquant.graph.graph import Node
from refquant.ops.activation import ACTIVATIONS
from refquant.quant.tensor import quantize
from refquant.verification.variants import rounded


def numbers(shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X = numbers((1, 8, 12, 12), 1)
W, B = numbers((8, 8, 3, 3), 2) / 8, numbers((8,), 3)
IMAGE = np.random.default_rng(5).random((1, 3, 12, 12)).astype(np.float32)
IMAGE[:, :, :2] = np.float32(114) / np.float32(255)  # the letterbox's bar
W0 = numbers((8, 3, 3, 3), 6)


def conv(weight=W, bias=B, stride=1, padding=1, activation="silu", inputs=("x",), **more) -> Node:
    attributes = {"stride": stride, "padding": padding, "activation": activation}
    arrays = {"weight": weight, **({} if bias is None else {"bias": bias}), **more}
    return Node("c", "conv", inputs, attributes, arrays)


def run(node: Node, *inputs: np.ndarray) -> np.ndarray:
    return run_node(node, list(inputs), "ref")


def act(name: str, z: np.ndarray) -> np.ndarray:
    return ACTIVATIONS[name].ref(z)


def conv_cases():
    """(cause, the right node, the faulty output) at convolutions."""
    right = conv()
    leaky = conv(activation="leaky")
    linear = run(conv(activation="linear"), X)
    yield "bias missing", right, run(conv(bias=None), X)
    yield "bias doubled", right, run(conv(bias=2 * B), X)
    yield "bias subtracted", right, run(conv(bias=-B), X)
    yield "bias of other filters", right, run(conv(bias=np.roll(B, 1)), X)
    yield "bias of other filters", right, run(conv(bias=B[::-1].copy()), X)
    yield "activation missing", right, linear
    yield "activation missing", leaky, linear
    yield "ReLU for the activation", right, np.maximum(linear, 0)
    yield (
        "wrong slope of LeakyReLU",
        leaky,
        np.where(linear > 0, linear, np.float32(0.01) * linear),
    )
    yield "another activation", right, run(leaky, X)
    yield "another activation", leaky, run(right, X)
    swish = linear * np.clip(linear + np.float32(3), 0, 6) / np.float32(6)
    yield "another activation", right, swish
    yield "activation applied twice", right, act("silu", run(right, X))
    yield "kernel flipped", right, run(conv(W[:, :, ::-1, ::-1].copy()), X)
    yield "kernel transposed", right, run(conv(W.swapaxes(2, 3).copy()), X)
    yield "filters and channels exchanged", right, run(conv(W.swapaxes(0, 1).copy()), X)
    hwio = np.ascontiguousarray(W.transpose(2, 3, 1, 0)).reshape(W.shape)
    yield "weight read in another layout", right, run(conv(hwio), X)
    yield "input channels reversed or exchanged", right, run(conv(), X[:, ::-1].copy())
    order = [1, 0, 2, 3, 4, 5, 7, 6]
    yield "output channels in another order", right, run(right, X)[:, order]
    # "SAME" of other frameworks at stride 2: nothing above and left, one below and right.
    same = np.pad(X, ((0, 0), (0, 0), (0, 1), (0, 1)))
    yield (
        "stride phase or asymmetric padding",
        conv(stride=2),
        run(conv(stride=2, padding=0), same),
    )
    phase = run(conv(), X)[:, :, 1::2, 1::2]
    yield "stride phase or asymmetric padding", conv(stride=2), phase
    moved = np.pad(X, ((0, 0), (0, 0), (2, 0), (1, 1)))
    yield "padding off by one", right, run(conv(padding=0), moved)
    mirrored = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    yield "border not padded with zeros", right, run(conv(padding=0), mirrored)


def move_cases():
    """(cause, the right node, its inputs, the faulty output) where maps are moved or added."""
    a, b, c = (numbers((1, 4, 8, 8), seed) for seed in (1, 2, 3))
    join = Node("j", "concat", ("a", "b", "c"))
    yield "concat order", join, (a, b, c), np.concatenate((b, a, c), 1)
    yield "one input of the concat taken twice", join, (a, b, c), np.concatenate((a, b, b), 1)
    woven = np.stack((a, b, c), 2).reshape(1, 12, 8, 8)
    yield "channels of the concat interleaved", join, (a, b, c), woven
    up = Node("u", "upsample", ("a",), {"scale": 2})
    rows = np.repeat(a, 2, 2)
    rows[:, :, 1:-1:2] = 0.75 * a[:, :, :-1] + 0.25 * a[:, :, 1:]
    rows[:, :, 2::2] = 0.25 * a[:, :, :-1] + 0.75 * a[:, :, 1:]
    smooth = np.repeat(rows, 2, 3)
    smooth[..., 1:-1:2] = 0.75 * rows[..., :-1] + 0.25 * rows[..., 1:]
    smooth[..., 2::2] = 0.25 * rows[..., :-1] + 0.75 * rows[..., 1:]
    yield "upsampling bilinear for nearest", up, (a,), smooth
    nearest = np.repeat(np.repeat(a, 2, 2), 2, 3)
    late = nearest[:, :, [0, *range(15)]][..., [0, *range(15)]]
    yield "upsampling shifted by a half pixel", up, (a,), late
    holes = np.zeros_like(nearest)
    holes[:, :, ::2, ::2] = a
    yield "upsampling with zeros between", up, (a,), holes
    pool = Node("p", "max_pool", ("a",), {"kernel": 5, "stride": 1, "padding": 2})
    low = a - 3
    around = np.pad(low, ((0, 0), (0, 0), (2, 2), (2, 2)))
    bare = Node("p", "max_pool", ("a",), {"kernel": 5, "stride": 1, "padding": 0})
    yield "pooling padded with 0 for -inf", pool, (low,), run(bare, around)
    two = Node("p", "max_pool", ("a",), {"kernel": 2, "stride": 2, "padding": 0})
    mean = (a[..., ::2, ::2] + a[..., 1::2, ::2] + a[..., ::2, 1::2] + a[..., 1::2, 1::2]) / 4
    yield "average for maximum", two, (a,), mean
    sums, counts = np.zeros_like(a), np.zeros_like(a)
    for r in range(-2, 3):
        for s in range(-2, 3):
            inside = np.s_[:, :, max(0, -r) : 8 - max(0, r), max(0, -s) : 8 - max(0, s)]
            theirs = np.s_[:, :, max(0, r) : 8 + min(0, r), max(0, s) : 8 + min(0, s)]
            sums[inside] += a[theirs]
            counts[inside] += 1
    yield "average for maximum", pool, (a,), sums / np.float32(25)
    yield "average for maximum", pool, (a,), sums / counts  # the padding is not counted
    late = np.pad(low, ((0, 0), (0, 0), (0, 4), (0, 4)), constant_values=-np.inf)
    yield "pooling window shifted", pool, (low,), run(bare, late)  # no padding before, 4 after
    yield "pooling without a window", two, (a,), a[:, :, ::2, ::2]
    shifted = np.zeros_like(a)
    shifted[:, :, :-1] = a[:, :, 1:]
    yield "pooling window shifted", two, (a,), run(two, shifted)
    nine = Node("p", "max_pool", ("a",), {"kernel": 9, "stride": 1, "padding": 4})
    yield "pooling window of another size", pool, (a,), run(nine, a)
    depth = Node("d", "space_to_depth", ("a",))
    parts = [a[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]  # rows before columns
    yield "order of the parities", depth, (a,), np.concatenate(parts, 1)
    total = Node("s", "add", ("a", "b", "c"))
    yield "one summand missing", total, (a, b, c), a + c
    yield "one summand doubled", total, (a, b, c), a + b + c + b


ANCHORS = np.array([[[10, 13], [16, 30], [33, 23]], [[30, 61], [62, 45], [59, 119]]], np.float32)
LEVELS = (numbers((1, 21, 8, 8), 1), numbers((1, 21, 4, 4), 2))


def mixed(right: np.ndarray, wrong: np.ndarray, level=1) -> np.ndarray:
    """The rows of one level wrong, the others right."""
    first = 3 * 8 * 8
    return np.concatenate([(wrong if level == 0 else right)[:, :first],
                           (wrong if level == 1 else right)[:, first:]], 1)  # fmt: skip


def output_cases():
    """Finished predictions, and what ports do to them."""
    right = port()
    box, scores, size = right[..., :4], right[..., 4:], np.float32(64)
    x1y1, x2y2 = box[..., :2] - box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2
    corners = np.concatenate([x1y1, x2y2], 2)

    def with_box(other, scores=scores):
        return np.concatenate([other, scores], 2)

    yield "boxes divided by the input size", with_box(box / size)
    yield "boxes as corners", with_box(corners)
    yield "boxes by their top left corner", with_box(np.concatenate([x1y1, box[..., 2:]], 2))
    yield "boxes as corners, divided by the input size", with_box(corners / size)
    yield "x and y exchanged", with_box(box[..., [1, 0, 3, 2]])
    yield (
        "x and y exchanged, boxes as corners, divided by the input size",
        with_box(corners[..., [1, 0, 3, 2]] / size),
    )
    yield "width and height exchanged", with_box(box[..., [0, 1, 3, 2]])
    x1y1, x2y2 = np.clip(x1y1, 0, 64), np.clip(x2y2, 0, 64)
    yield (
        "boxes clipped to the image",
        with_box(np.concatenate([(x1y1 + x2y2) / 2, x2y2 - x1y1], 2)),
    )
    yield "boxes in whole pixels", with_box(np.rint(box))
    product = np.concatenate([scores[..., :1], scores[..., :1] * scores[..., 1:]], 2)
    names = ("", ", boxes as corners", ", boxes divided by the input size")
    for name, other in zip(names, (box, corners, box / size), strict=True):
        yield f"scores multiplied by objectness{name}", with_box(other, product)
    yield (
        "scores multiplied by objectness, boxes as corners, divided by the input size",
        with_box(corners / size, product),
    )
    turned = np.ascontiguousarray(right.swapaxes(1, 2)).reshape(right.shape)
    yield "entries before rows (NER) taken as NRE", turned
    yield "objectness behind the classes", with_box(box, np.roll(scores, -1, 2))
    yield "scores before boxes", np.concatenate([scores, box], 2)


def port(levels=LEVELS, anchors=ANCHORS, strides=(8, 16), **wrong) -> np.ndarray:
    """A decode of its own, element by element, with switches for its mistakes."""
    rows = []
    for raw, level, stride in zip(levels, anchors, strides, strict=True):
        _, channels, H, W = raw.shape
        E = channels // 3
        found = np.zeros((3, H, W, E), np.float32)
        for a in range(3):
            for h in range(H):
                for w in range(W):
                    v = raw[0, a * E : (a + 1) * E, h, w]
                    p = v if wrong.get("raw") else 1 / (1 + np.exp(-v))
                    x, y = (h, w) if wrong.get("grid") else (w, h)
                    half, s = wrong.get("half", 0.5), 1 if wrong.get("cells") else stride
                    size = level[a][::-1] if wrong.get("sides") else level[a]
                    side = np.exp(v[2:4]) if wrong.get("exp") else (2 * p[2:4]) ** 2
                    box = [(2 * p[0] - half + x) * s, (2 * p[1] - half + y) * s, *(side * size)]
                    found[a, h, w] = [*box, *p[4:]]
        if wrong.get("last"):
            found = found.transpose(1, 2, 0, 3)
        rows.append(found.reshape(1, -1, E))
    return np.concatenate(rows[::-1] if wrong.get("reverse") else rows, 1)


def decode_cases():
    yield "sigmoid missing in the decode", port(raw=True)
    yield "grid without its half cell", port(half=0.0)
    yield "grid order: x and y exchanged", port(grid=True)
    yield "anchor width and height exchanged", port(sides=True)
    yield "anchor order within a level", port(anchors=ANCHORS[:, [1, 0, 2]])
    yield "anchors of another level", port(anchors=ANCHORS[::-1])
    yield "anchors in cells for pixels", port(anchors=ANCHORS / np.array([8, 16]).reshape(2, 1, 1))
    yield "width and height of another formula", port(exp=True)
    yield "boxes not multiplied by the stride", port(cells=True)
    yield "rows of the grid in another order", port(last=True)
    yield "levels in another order", port(reverse=True)
    right = port()
    yield "grid of one level", mixed(right, port(grid=True))
    yield "grid of one level", mixed(right, port(half=0.0), level=0)
    yield "anchors of one level", mixed(right, port(anchors=ANCHORS[::-1]))
    yield "anchors of one level", mixed(right, port(sides=True), level=0)
    yield "stride of one level", mixed(right, port(strides=(8, 32)))
    logits = np.concatenate([right[..., :4], port(raw=True)[..., 4:]], 2)
    yield "confidences as logits", logits
    yield "confidences as logits", np.concatenate([logits[..., :5], right[..., 5:]], 2)
    powers = np.exp(logits[..., 5:])
    soft = powers / powers.sum(2, keepdims=True)
    yield "softmax over the classes", np.concatenate([right[..., :5], soft], 2)
    again = 1 / (1 + np.exp(-right[..., 4:]))
    yield "sigmoid applied twice", np.concatenate([right[..., :4], again], 2)
    yield from output_cases()


def input_cases():
    yield "BGR for RGB", IMAGE[:, ::-1]
    yield "no division by 255", IMAGE * np.float32(255)
    yield "division by 255 twice", IMAGE / np.float32(255)
    yield "division by 256", IMAGE * np.float32(255) / np.float32(256)
    yield "shifted by a half: x - 0.5", IMAGE - np.float32(0.5)
    yield "scaled to -1..1: 2x - 1", np.float32(2) * IMAGE - np.float32(1)
    video = np.float32(16) + np.float32(219) * IMAGE
    yield "video range: 16 to 235 for 0 to 255", video / np.float32(255)
    yield "BGR, and no division by 255", IMAGE[:, ::-1] * np.float32(255)
    mean = np.float32([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    deviation = np.float32([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    yield "normalized with ImageNet's means", (IMAGE - mean) / deviation
    yield "rows and columns exchanged", IMAGE.swapaxes(2, 3)
    yield "image mirrored", IMAGE[..., ::-1]
    yield "NHWC read as NCHW", np.ascontiguousarray(np.moveaxis(IMAGE, 1, 3)).reshape(IMAGE.shape)
    yield "letterbox on one side", np.roll(IMAGE, -2, axis=2)
    black = IMAGE.copy()
    black[:, :, :2] = 0
    yield "letterbox with another grey", black


def quant_cases():
    """(cause, the faulty weight) for 4-bit codes, one scale and zero point per filter."""
    tensor = quantize(W * np.arange(1, 9, dtype=np.float32).reshape(8, 1, 1, 1), bits=4)
    q = tensor.codes.astype(np.float32)
    scale, zero = tensor.params["scale"], tensor.params["zero_point"].astype(np.float32)

    def weight(rows):
        return rows.astype(np.float32).reshape(W.shape)

    yield "per-layer for per-filter scales", tensor, weight(scale.max() * (q - zero))
    yield "zero point left out", tensor, weight(scale * q)
    yield "sign of the zero point", tensor, weight(scale * (q + zero))
    yield "one zero point for all groups", tensor, weight(scale * (q - 8))
    yield "codes taken as signed", tensor, weight(scale * (np.where(q > 7, q - 16, q) - zero))
    pairs = q.reshape(-1, 2)[:, ::-1].reshape(q.shape)
    yield "low and high nibble exchanged", tensor, weight(scale * (pairs - zero))
    yield "zero point off by one", tensor, weight(scale * (q - zero - 1))
    yield "zero point off by one", tensor, weight(scale * (q - zero + 1))
    yield "scales of other groups", tensor, weight(scale[::-1] * (q - zero[::-1]))
    yield "scales of other groups", tensor, weight(np.roll(scale, -1, 0) * (q - zero))


def summed(name: str) -> np.ndarray:
    """The right convolution before its activation, every sum rounded; the bias added last."""
    padded, total = np.pad(X[0], ((0, 0), (1, 1), (1, 1))), np.zeros((8, 12, 12), np.float32)
    for c in range(8):
        for r in range(3):
            for s in range(3):
                product = W[:, c, r, s, None, None] * padded[c, r : r + 12, s : s + 12]
                total = rounded(total + product, name)
    return (total + B[:, None, None])[None]


def type_cases():
    """(cause, the faulty output), computed in narrower types."""
    for name in ("float16", "bfloat16"):
        narrow = conv(rounded(W, name), rounded(B, name))
        yield f"stored as {name}", rounded(run(narrow, rounded(X, name)), name)
    for name, cause in (
        ("tf32", "tf32 or float16"),
        ("float16", "tf32 or float16"),
        ("bfloat16",) * 2,
    ):
        cores = run(conv(rounded(W, name)), rounded(X, name))
        yield f"inputs and weights rounded to {cause}", cores
    for name in ("float16", "bfloat16"):
        yield f"{name} accumulation", act("silu", summed(name))
    half = np.broadcast_to(B.astype(np.float16)[:, None, None], (8, 12, 12)).copy()
    padded = np.pad(X[0], ((0, 0), (1, 1), (1, 1)))
    for c in range(8):
        for r in range(3):
            for s in range(3):
                product = W[:, c, r, s, None, None] * padded[c, r : r + 12, s : s + 12]
                half = (half + product.astype(np.float16)).astype(np.float16)
    silu = act("silu", half.astype(np.float32))
    yield "float16 accumulation", silu[None].astype(np.float16).astype(np.float32)


def fit_cases():
    """(cause, right node, faulty output) where numbers are unknown to the golden."""
    rng = np.random.default_rng(0)
    gamma, beta, mean = (1 + 0.1 * rng.random(8), rng.random(8), rng.random(8))
    variance = 0.001 * rng.random(8)

    def folded(eps):
        s = gamma / np.sqrt(variance + eps)
        weight = (W * s[:, None, None, None] / 30).astype(np.float32)
        return conv(weight, (beta - mean * s / 30).astype(np.float32))

    yield "wrong eps of the batch norm", folded(1e-3), run(folded(1e-5), X)
    variance = 1 + rng.random(8)  # so large that most filters stay within the bound
    yield "wrong eps of the batch norm", folded(1e-3), run(folded(1e-5), X)
    s = np.linspace(0.3, 3, 8, dtype=np.float32).reshape(8, 1, 1, 1)
    yield "batch norm not folded or folded wrongly", conv(W * s), run(conv(W, None), X)
    shifted = conv(bias=B + rng.random(8).astype(np.float32))
    yield "another constant per filter: shift of the batch norm", conv(), run(shifted, X)
    head = conv(activation="linear")
    implicit = rng.random(8).astype(np.float32)
    added = run(replace(head, arrays={"weight": W, "bias": B + implicit}), X)
    yield "implicit addition missing or applied twice", head, added
    room = {"weight": W, "bias": B, "bias_magnitude": abs(B + implicit) + abs(implicit)}
    yield "implicit addition missing or applied twice", replace(head, arrays=room), added
    multiplied = run(head, X) * (1 + implicit)[:, None, None]
    yield "implicit multiplication missing or applied twice", head, multiplied
    branch = np.zeros_like(W)
    branch[:, :, 1, 1] = numbers((8, 8), 9)
    fused = conv(W + branch, weight_magnitude=abs(W) + abs(branch))
    yield "a RepConv branch missing", fused, run(conv(W), X)
    # Both branches without their batch norms s and t.
    t = np.linspace(2, 0.4, 8, dtype=np.float32).reshape(8, 1, 1, 1)
    fused = conv(W * s + branch * t, weight_magnitude=abs(W * s) + abs(branch * t))
    yield "batch norm not folded or folded wrongly", fused, run(conv(W + branch, None), X)
    t = np.linspace(1, 0.3, 8, dtype=np.float32).reshape(8, 1, 1, 1)
    fused = conv(W * t + branch * t**2, weight_magnitude=abs(W * t) + abs(branch * t**2))
    yield "wrong eps of the batch norm", fused, run(conv(W + branch), X)


def unfolded_cases():
    """(cause, right node, faulty output) in unfolded goldens."""
    names = ("weight", "bias", "mean", "variance")
    arrays = {key: abs(numbers((8,), i)) * 0.01 for i, key in enumerate(names)}
    norm = Node("n", "batch_norm", ("x",), {"eps": 1e-3}, arrays)
    yield "batch norm missing", norm, X
    yield "wrong eps of the batch norm", norm, run(replace(norm, attributes={"eps": 1e-5}), X)
    add = Node("i", "add_channel", ("x",), {}, {"implicit": B})
    yield "implicit layer missing", add, X
    yield "implicit layer applied twice", add, run(add, run(add, X))
    times = Node("i", "multiply_channel", ("x",), {}, {"implicit": B})
    yield "implicit layer applied twice", times, run(times, run(times, X))


def all_cases():
    """(cause, right node, inputs, faulty output) of every cause."""
    for name, node, found in conv_cases():
        yield name, node, (X,), found
    yield from move_cases()
    decode = Node("d", "decode", ("a", "b"), {"strides": (8, 16)}, {"anchors": ANCHORS})
    for name, found in decode_cases():
        yield name, decode, LEVELS, found.astype(np.float32)
    first = conv(W0, inputs=("images",))
    for name, image in input_cases():
        yield name, first, (IMAGE,), run(first, np.ascontiguousarray(image))
    for name, tensor, weight in quant_cases():
        yield name, conv(tensor), (X,), run(conv(weight), X)
    for name, found in type_cases():
        yield name, conv(), (X,), found
    for cases in (fit_cases, unfolded_cases):
        for name, node, found in cases():
            yield name, node, (X,), found


CASES = list(all_cases())
