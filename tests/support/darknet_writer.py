"""Darknet files of the networks that tests make: the same layers, other words.

The order of the convolutions is that of the published cfg files: SPPCSPC's second one first, each
output convolution straight behind the layer that it reads. A RepConv is folded into one
convolution with a batch norm that changes nothing; the head's implicit layers are folded too.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fuse_checkpoint import fuse_module, merged_implicit

from refquant.graph.module import Layer, Module

ACTIVATIONS = {"SiLU": "silu", "LeakyReLU": "leaky"}
NET = "[net]\n# made for tests\nbatch=1\nwidth=640\nheight=640\nchannels=3\n"
TRAINING = "jitter=.1\nignore_thresh=.7\niou_loss=ciou\nnms_kind=diounms\nbeta_nms=0.6\n"


class Files:
    """Sections and numbers so far; `last` is the index of the last layer."""

    def __init__(self, eps: float, activation: str, silu: str) -> None:
        self.eps, self.activation, self.silu = eps, activation, silu
        self.sections: list[str] = []
        self.numbers: list[np.ndarray] = []

    @property
    def last(self) -> int:
        return len(self.sections) - 1

    def add(self, kind: str, **values: object) -> int:
        lines = "".join(f"{key}={value}\n" for key, value in values.items())
        self.sections.append(f"[{kind}]\n{lines}")
        return self.last

    def at(self, layer: int) -> None:
        """Make `layer` the last one, by a route where it is not."""
        if layer != self.last:
            self.add("route", layers=layer - (self.last + 1))

    def join(self, layers: Sequence[int]) -> int:
        return self.add("route", layers=",".join(str(i - (self.last + 1)) for i in layers))

    def conv(self, module: Module, of: int, blocks: int = 1) -> int:
        """A Conv module; with `blocks` its input channels come in that many, in reverse order."""
        self.at(of)
        conv, norm = module.children["conv"], module.children["bn"].arrays
        weight = conv.arrays["weight"]
        parts = np.split(weight, blocks, axis=1)
        self.numbers += [norm[k] for k in ("bias", "weight", "running_mean", "running_var")]
        self.numbers.append(np.concatenate(parts[::-1], axis=1))
        name = ACTIVATIONS[module.children["act"].kind]
        return self.convolution(conv, 1, self.silu if name == "silu" else name)

    def rep_conv(self, module: Module, of: int) -> int:
        """The folded branches with gamma = sqrt(1 + eps), mean 0, variance 1."""
        self.at(of)
        conv = fuse_module(module).children["rbr_reparam"]
        bias = conv.arrays["bias"]
        one, zero = np.ones_like(bias), np.zeros_like(bias)
        gamma = one * np.float32(np.sqrt(1 + self.eps))
        self.numbers += [bias, gamma, zero, one, conv.arrays["weight"]]
        return self.convolution(conv, 1, self.silu)

    def convolution(self, conv: Module, norm: int, activation: str) -> int:
        filters, _, size, _ = conv.arrays["weight"].shape
        values = {"batch_normalize": 1} if norm else {}
        values |= {"filters": filters, "size": size, "stride": conv.attributes["stride"]}
        return self.add("convolutional", **values, pad=1, activation=activation)

    def sppcspc(self, module: Module, p: int) -> int:
        part = module.children
        right = self.conv(part["cv2"], p)
        a = self.conv(part["cv4"], self.conv(part["cv3"], self.conv(part["cv1"], p)))
        pools = [a]
        for kernel in (5, 9, 13):
            self.at(a)
            pools.append(self.add("maxpool", size=kernel, stride=1))
        # x, 5, 9, 13 is the order of both.
        b = self.conv(part["cv6"], self.conv(part["cv5"], self.join(pools)))
        return self.conv(part["cv7"], self.join([b, right]))

    def level(self, head: Module, k: int) -> int:
        """An output convolution and its yolo layer."""
        conv = head.children["m"].children[str(k)]
        conv = merged_implicit(head, str(k)) if "ia" in head.children else conv
        self.numbers += [conv.arrays["bias"], conv.arrays["weight"]]
        self.convolution(conv, 0, self.activation)
        anchors = head.arrays["anchors"].reshape(-1, 2)
        count = head.arrays["anchors"].shape[1]
        return self.add(
            "yolo",
            mask=",".join(str(k * count + i) for i in range(count)),
            anchors=",  ".join(f"{w:g},{h:g}" for w, h in anchors),
            classes=conv.arrays["weight"].shape[0] // count - 5,
            num=len(anchors),
            scale_x_y=2.0,
            new_coords=1,
        )


def files(
    layers: Sequence[Layer],
    eps: float = 1e-5,
    activation: str = "linear",
    silu: str = "silu",
    reverse: bool = False,
) -> Files:
    """The network as sections and numbers. With `reverse` the joins of tiny have the order of its
    published cfg, oldest first."""
    made = Files(eps, activation, silu)
    place = {-1: -1}  # index here -> index there
    *body, head = layers
    for index, (sources, module) in enumerate((x.sources, x.module) for x in body):
        at = [place[source] for source in sources]
        if module.kind == "Conv":
            turned = reverse and reversible(body, sources[0])
            blocks = len(body[sources[0]].sources) if turned else 1
            place[index] = made.conv(module, at[0], blocks)
        elif module.kind == "Concat":
            place[index] = made.join(at[::-1] if reverse and reversible(body, index) else at)
        elif module.kind in ("MP", "SP"):
            made.at(at[0])
            pool = module.children["m"].attributes
            place[index] = made.add("maxpool", size=pool["kernel"], stride=pool["stride"])
        elif module.kind == "Upsample":
            place[index] = made.add("upsample", stride=2)
        else:
            make = {"RepConv": made.rep_conv, "SPPCSPC": made.sppcspc}[module.kind]
            place[index] = make(module, at[0])
        if index in head.sources:
            made.level(head.module, head.sources.index(index))
    return made


def reversible(body: Sequence[Layer], index: int) -> bool:
    """A join that one convolution reads: of an ELAN, or of tiny's pyramid with its branch."""
    if index < 0 or body[index].module.kind != "Concat":
        return False
    readers = sum(index in layer.sources for layer in body)
    pools = any(body[source].module.kind == "SP" for source in body[index].sources)
    return readers == 1 and not pools


def cfg_of(made: Files) -> str:
    return NET + "\n" + "\n".join(made.sections)


def write(path: Path, made: Files, *, long: bool = True) -> Path:
    """Write path.cfg and path.weights; `long`: with a header of 20 bytes, not of 16."""
    path.with_suffix(".cfg").write_text(cfg_of(made))
    version = (0, 2, 5) if long else (0, 1, 0)
    head = struct.pack("<3iQ" if long else "<3iI", *version, 32013312)
    data = b"".join(values.astype("<f4").tobytes() for values in made.numbers)
    path.with_suffix(".weights").write_bytes(head + data)
    return path.with_suffix(".weights")
