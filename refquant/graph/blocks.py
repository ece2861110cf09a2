"""The blocks of the family: modules that are made of modules, one record each.

Everything that is known of a block stands here, and nowhere else:

    parts      the names that its parts have in the public code, and so in every file
    make       how it is put together from a `Supply`, for c input channels and f filters: which
               convolutions it has, their kernels and their channels
    wire       how its output comes from its input x: the order in which its nodes are added

A random network (architecture.py) and a file of tensors by name (formats/state_dict.py) use
`make`; a checkpoint of whole modules (formats/torch/modules.py) is held against `parts`; the hint
which architecture a file may have (formats/tensor_names.py) comes from `sign`; lower.py uses
`wire`. A new block is one entry of `BLOCKS` with its two functions. [a, b] is a concatenation.

Source  Wang, Bochkovskiy and Liao 2022, arXiv 2207.02696: RepConv is its re-parameterized
convolution; SPPCSPC and DownC are named after the released layer lists. Those of YOLOv5 v5 and v6
(SPP, SPPF, Focus, Bottleneck, C3) stand in no table here and are only read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from refquant.graph.module import Module
from refquant.graph.supply import Supply, conv2d, listed, norm, pool


class Inside(NamedTuple):
    """A block while its nodes are added; outputs are told by the names of their nodes.

    append    append(name, op, inputs) adds a node
    lower     lower(name, module, x) adds the nodes of a module
    """

    name: str
    module: Module
    append: Callable[..., str]
    lower: Callable[..., str]

    def part(self, key: str, x: str) -> str:
        """The output of a part for input x."""
        return self.lower(f"{self.name}.{key}", self.module.children[key], x)

    def chain(self, x: str, *keys: str) -> str:
        """The output of parts one after the other; those that are absent are skipped."""
        for key in keys:
            if key in self.module.children:
                x = self.part(key, x)
        return x

    def concat(self, *xs: str, key: str = "cat") -> str:
        """[xs], a node of the block's own."""
        return self.append(f"{self.name}.{key}", "concat", xs)

    def pyramid(self, x: str) -> str:
        """[x, m.0(x), m.1(x), ...]"""
        pools = self.module.children["m"].children.items()
        return self.concat(x, *(self.lower(f"{self.name}.m.{k}", each, x) for k, each in pools))


class Composed(NamedTuple):
    """What is known of a block.

    parts      the parts without which an instance means nothing
    wire       wire(inside, x) -> output
    make       make(supply, name, c, f, ...) -> Module, make(...) of one without tensors;
               further arguments are those of its row
    sign       how the name of some tensor of it begins, and of no other layer; "" without tensors
    fused      a part that stands in place of those in `unfused`
    flags      the attributes, True or False, that change how it is wired
    """

    parts: tuple[str, ...]
    wire: Callable[[Inside, str], str]
    make: Callable[..., Module] | None = None
    sign: str = ""
    fused: str = ""
    unfused: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def missing(self, present: Mapping[str, Module]) -> list[str]:
        """The parts that an instance with these ones lacks."""
        due = self.parts if self.fused in present else (*self.parts, *self.unfused)
        return [key for key in due if key not in present]


def normed(
    supply: Supply, conv: str, bn: str, c: int, f: int, kernel: int, stride: int = 1
) -> list[Module]:
    """A convolution and its batch norm; the convolution alone, with a bias, where it is fused."""
    made = conv2d(supply, conv, c, f, kernel, stride, bias=supply.fused)
    return [made] if supply.fused else [made, norm(supply, bn, f)]


def conv(
    supply: Supply, name: str, c: int, f: int, kernel: int, stride: int = 1, activation: str = ""
) -> Module:
    """Conv; its activation is that of the supply, unless another is given."""
    parts = normed(supply, f"{name}.conv", f"{name}.bn", c, f, kernel, stride)
    children = dict(zip(("conv", "bn"), parts))
    return Module("Conv", children={**children, "act": Module(activation or supply.activation)})


def wire_conv(inside: Inside, x: str) -> str:
    """act(bn(conv(x)))"""
    return inside.chain(x, "conv", "bn", "act")


def rep_conv(supply: Supply, name: str, c: int, f: int) -> Module:
    """RepConv: a 3x3 and a 1x1 convolution side by side, in a fused file one of 3x3."""
    children = {"act": Module("SiLU")}
    if supply.fused:
        children["rbr_reparam"] = conv2d(supply, f"{name}.rbr_reparam", c, f, 3)
        return Module("RepConv", children=children)
    for key, kernel in (("rbr_dense", 3), ("rbr_1x1", 1)):
        branch = normed(supply, f"{name}.{key}.0", f"{name}.{key}.1", c, f, kernel)
        children[key] = listed("Sequential", *branch)
    if supply.has(f"{name}.rbr_identity.weight"):
        children["rbr_identity"] = norm(supply, f"{name}.rbr_identity", f)
    return Module("RepConv", children=children)


def wire_rep_conv(inside: Inside, x: str) -> str:
    """act(rbr_dense(x) + rbr_1x1(x) [+ rbr_identity(x)]), or act(rbr_reparam(x))."""
    if "rbr_reparam" in inside.module.children:
        return inside.chain(x, "rbr_reparam", "act")
    keys = ("rbr_dense", "rbr_1x1", "rbr_identity")
    branches = [inside.part(key, x) for key in keys if key in inside.module.children]
    return inside.part("act", inside.append(f"{inside.name}.add", "add", branches))


def numbered(
    supply: Supply, name: str, sizes: Sequence[tuple[int, int, int, int]]
) -> dict[str, Module]:
    """cv1, cv2, ...: a Conv of each size (c, f, kernel, stride), with SiLU in every network."""
    return {
        f"cv{i}": conv(supply, f"{name}.cv{i}", *size, "SiLU") for i, size in enumerate(sizes, 1)
    }


def sppcspc(supply: Supply, name: str, c: int, f: int) -> Module:
    """SPPCSPC: seven convolutions around a pyramid of three poolings."""
    sizes = (
        (c, f, 1, 1),
        (c, f, 1, 1),
        (f, f, 3, 1),
        (f, f, 1, 1),
        (4 * f, f, 1, 1),
        (f, f, 3, 1),
        (2 * f, f, 1, 1),
    )
    pools = listed("ModuleList", *(pool(kernel, 1, kernel // 2) for kernel in (5, 9, 13)))
    return Module("SPPCSPC", children={**numbered(supply, name, sizes), "m": pools})


def wire_sppcspc(inside: Inside, x: str) -> str:
    """a = cv4(cv3(cv1(x))); b = cv6(cv5([a, pools of a])); cv7([b, cv2(x)])."""
    a = inside.chain(x, "cv1", "cv3", "cv4")
    b = inside.chain(inside.pyramid(a), "cv5", "cv6")
    return inside.part("cv7", inside.concat(b, inside.part("cv2", x), key="cat2"))


def down_c(supply: Supply, name: str, c: int, f: int) -> Module:
    """DownC: half of the filters by a strided convolution, half by a pooling."""
    sizes = ((c, c, 1, 1), (c, f // 2, 3, 2), (c, f // 2, 1, 1))
    return Module("DownC", children={**numbered(supply, name, sizes), "mp": pool(2, 2, 0)})


def wire_down_c(inside: Inside, x: str) -> str:
    """[cv2(cv1(x)), cv3(mp(x))]"""
    return inside.concat(inside.chain(x, "cv1", "cv2"), inside.chain(x, "mp", "cv3"))


def mp() -> Module:
    """MP: the pooling that halves a map."""
    return Module("MP", children={"m": pool(2, 2, 0)})


def sp(kernel: int) -> Module:
    """SP: a pooling that keeps the size of a map."""
    return Module("SP", children={"m": pool(kernel, 1, kernel // 2)})


def wire_pool(inside: Inside, x: str) -> str:
    """m(x)"""
    return inside.part("m", x)


def wire_sequential(inside: Inside, x: str) -> str:
    """All parts, one after the other."""
    return inside.chain(x, *inside.module.children)


def wire_spp(inside: Inside, x: str) -> str:
    """cv2([a, pools of a]), a = cv1(x)."""
    return inside.part("cv2", inside.pyramid(inside.part("cv1", x)))


def wire_sppf(inside: Inside, x: str) -> str:
    """cv2([a, m(a), m(m(a)), m(m(m(a)))]), a = cv1(x)."""
    maps = [inside.part("cv1", x)]
    for i in range(3):
        maps.append(inside.lower(f"{inside.name}.m.{i}", inside.module.children["m"], maps[-1]))
    return inside.part("cv2", inside.concat(*maps))


def wire_focus(inside: Inside, x: str) -> str:
    """conv of the four quarters of the image."""
    return inside.part("conv", inside.append(f"{inside.name}.cat", "space_to_depth", (x,)))


def wire_bottleneck(inside: Inside, x: str) -> str:
    """cv2(cv1(x)), plus x where the module says so."""
    y = inside.chain(x, "cv1", "cv2")
    added = inside.module.attributes["add"]
    return inside.append(f"{inside.name}.add", "add", (x, y)) if added else y


def wire_c3(inside: Inside, x: str) -> str:
    """cv3([m(cv1(x)), cv2(x)])"""
    return inside.part("cv3", inside.concat(inside.chain(x, "cv1", "m"), inside.part("cv2", x)))


BLOCKS: Mapping[str, Composed] = {
    "Conv": Composed(("conv", "act"), wire_conv, conv, "conv."),
    "RepConv": Composed(
        ("act",),
        wire_rep_conv,
        rep_conv,
        "rbr_",
        fused="rbr_reparam",
        unfused=("rbr_dense", "rbr_1x1"),
    ),
    "SPPCSPC": Composed(
        ("cv1", "cv2", "cv3", "cv4", "cv5", "cv6", "cv7", "m"), wire_sppcspc, sppcspc, "cv7."
    ),
    "DownC": Composed(("cv1", "cv2", "cv3", "mp"), wire_down_c, down_c, "cv"),
    "MP": Composed(("m",), wire_pool, mp),
    "SP": Composed(("m",), wire_pool, sp),
    "Sequential": Composed((), wire_sequential),
    "SPP": Composed(("cv1", "cv2", "m"), wire_spp),
    "SPPF": Composed(("cv1", "cv2", "m"), wire_sppf),
    "Focus": Composed(("conv",), wire_focus),
    "Bottleneck": Composed(("cv1", "cv2"), wire_bottleneck, flags=("add",)),
    "C3": Composed(("cv1", "cv2", "cv3", "m"), wire_c3),
}
