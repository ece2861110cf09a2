"""Trees of modules as PyTorch pickles them, and the archive that torch.save puts them into."""

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pickle_writer import Call, Name, New, Outside, dumps

from refquant.graph.module import Layer, Module

ALIGNMENT = 64  # of a storage in the file
RELATIVE = 6  # layers up to this far back are named relative to the reader, as in the releases
STORAGES = {"f2": "Half", "f4": "Float", "f8": "Double", "i8": "Long", "u1": "Byte", "b1": "Bool"}
LIBRARY = {
    "Sequential": "torch.nn.modules.container",
    "ModuleList": "torch.nn.modules.container",
    "Conv2d": "torch.nn.modules.conv",
    "BatchNorm2d": "torch.nn.modules.batchnorm",
    "MaxPool2d": "torch.nn.modules.pooling",
    "Upsample": "torch.nn.modules.upsampling",
    "SiLU": "torch.nn.modules.activation",
    "LeakyReLU": "torch.nn.modules.activation",
    "Identity": "torch.nn.modules.linear",
    **dict.fromkeys(("Model", "Detect", "IDetect", "IAuxDetect"), "models.yolo"),
}
HOOKS = ("_backward_hooks", "_forward_hooks", "_forward_pre_hooks", "_state_dict_hooks")
ORDERED = Name("collections", "OrderedDict")


class Objects:
    """The storages so far; the methods give what pickle_writer writes.

    anchor_grid    whether a head has this buffer: YOLOv5 v6 has it no longer
    """

    def __init__(self, anchor_grid: bool = True) -> None:
        self.storages: list[bytes] = []
        self.sizes: list[int] = []  # bytes per number of each storage
        self.anchor_grid = anchor_grid

    def model(self, layers: Sequence[Layer], head: str, fused: bool = False) -> New:
        """The root object."""
        made = [self.layer(i, layer, head, fused) for i, layer in enumerate(layers)]
        chain = self.module("Sequential")
        chain.attributes["_modules"] = {str(i): layer for i, layer in enumerate(made)}
        classes = made[-1].attributes["nc"]
        return self.module(
            "Model",
            _modules={"model": chain},
            traced=False,
            yaml={"nc": classes, "ch": 3, "anchors": 3},
            save=sorted({s for layer in layers for s in layer.sources if s >= 0}),
            names=[f"thing {i}" for i in range(classes)],
            stride=made[-1].attributes["stride"],
            hyp={"lr0": 0.01},
            gr=1.0,
            nc=classes,
        )

    def layer(self, index: int, layer: Layer, head: str, fused: bool) -> New:
        """One layer, with what the graph is made of: i and f."""
        kind = head if layer.module.kind == "Detect" else layer.module.kind
        made = self.object(layer.module, kind, fused=fused)
        near = [s - index if index - s <= RELATIVE else s for s in layer.sources]
        several = kind in ("Concat", "Shortcut", head)
        name = f"{made.name.module}.{made.name.name}"
        made.attributes.update(i=index, f=near if several else near[0], type=name, np=0)
        return made

    def object(self, module: Module, kind: str = "", inside: str = "", fused: bool = False) -> New:
        """One module with its parts. `kind` is its class, `inside` the list that it stands in."""
        implicit = {"ia": "ImplicitA", "im": "ImplicitM"}
        kind = implicit.get(inside, "ModuleList") if module.kind == "Implicit" else kind
        kind = kind or module.kind
        own = OWN[module.kind](self, module) if module.kind in OWN else {}
        made = self.module(kind, **own)
        for key, child in module.children.items():
            part = self.object(child, inside=key if key in implicit else inside, fused=fused)
            made.attributes["_modules"][key] = part
        if fused and kind in ("Conv", "IDetect", "IAuxDetect"):
            get = Name("__builtin__", "getattr")
            made.attributes["forward"] = Call(get, (made, "fuseforward"))
        return made

    def module(self, kind: str, **own: Any) -> New:
        """An object of a class, with what every module has and its own attributes."""
        empty_set = Call(Name("__builtin__", "set"), ([],))
        hooks = {hook: Call(ORDERED) for hook in HOOKS}
        common = {"training": False, "_parameters": {}, "_buffers": {}, "_modules": {}}
        attributes = {**common, "_non_persistent_buffers_set": empty_set, **hooks, **own}
        return New(Name(LIBRARY.get(kind, "models.common"), kind), attributes)

    def tensor(self, values: np.ndarray) -> Call:
        """A tensor with a storage of its own."""
        key, numel = str(len(self.storages)), int(values.size)
        self.storages.append(values.astype(values.dtype.newbyteorder("<")).tobytes())
        self.sizes.append(values.itemsize)
        storage = Name("torch", STORAGES[values.dtype.str[1:]] + "Storage")
        strides = np.empty(values.shape, "u1").strides
        return tensor(("storage", storage, key, "cpu", numel), 0, values.shape, strides)

    def parameters(self, **arrays: np.ndarray | None) -> dict[str, Any]:
        rebuild = Name("torch._utils", "_rebuild_parameter")
        return {
            key: None if a is None else Call(rebuild, (self.tensor(a), False, Call(ORDERED)))
            for key, a in arrays.items()
        }


def tensor(reference: tuple[Any, ...], offset: Any, size: Any, stride: Any) -> Call:
    """A view of the storage that the reference names."""
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, (Outside(reference), offset, size, stride, False, Call(ORDERED)))


def conv2d(objects: Objects, module: Module) -> dict[str, Any]:
    f, c, r, s = module.arrays["weight"].shape
    stride, padding = module.attributes["stride"], module.attributes["padding"]
    return {
        "_parameters": objects.parameters(
            weight=module.arrays["weight"], bias=module.arrays.get("bias")
        ),
        "in_channels": c,
        "out_channels": f,
        "kernel_size": (r, s),
        "stride": (stride, stride),
        "padding": (padding, padding),
        "dilation": (1, 1),
        "transposed": False,
        "output_padding": (0, 0),
        "groups": 1,
        "padding_mode": "zeros",
        "_reversed_padding_repeated_twice": (padding,) * 4,
    }


def norm(objects: Objects, module: Module) -> dict[str, Any]:
    arrays, batches = module.arrays, np.array(1, np.int64)
    # Storages are numbered in the order of their first use: parameters come before buffers.
    parameters = objects.parameters(weight=arrays["weight"], bias=arrays["bias"])
    statistics = {key: objects.tensor(arrays[key]) for key in ("running_mean", "running_var")}
    return {
        "_parameters": parameters,
        "_buffers": {**statistics, "num_batches_tracked": objects.tensor(batches)},
        "num_features": arrays["bias"].size,
        "eps": module.attributes["eps"],
        "momentum": 0.03,
        "affine": True,
        "track_running_stats": True,
    }


def max_pool(objects: Objects, module: Module) -> dict[str, Any]:
    kernel, stride, padding = (module.attributes[k] for k in ("kernel", "stride", "padding"))
    sizes = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": 1}
    return {**sizes, "return_indices": False, "ceil_mode": False}


def upsample(objects: Objects, module: Module) -> dict[str, Any]:
    scale = float(module.attributes["scale"])
    fixed = {"size": None, "mode": "nearest", "align_corners": None}
    return {"name": "Upsample", **fixed, "scale_factor": scale}


def implicit(objects: Objects, module: Module) -> dict[str, Any]:
    values = module.arrays["implicit"].reshape(1, -1, 1, 1)
    fixed = {"channel": values.size, "mean": 0.0, "std": 0.02}
    return {"_parameters": objects.parameters(implicit=values), **fixed}


def rep_conv(objects: Objects, module: Module) -> dict[str, Any]:
    fused = module.children.get("rbr_reparam")
    conv = fused or module.children["rbr_dense"].children["0"]
    filters, channels = conv.arrays["weight"].shape[:2]
    own = {"deploy": fused is not None, "groups": 1}
    own.update(in_channels=channels, out_channels=filters)
    # The absent branch is an attribute that is None, not a child.
    return own if "rbr_identity" in module.children else {**own, "rbr_identity": None}


def detect(objects: Objects, module: Module) -> dict[str, Any]:
    strides = np.array(module.attributes["strides"], np.float32)
    pixels = module.arrays["anchors"].astype(np.float16)
    levels, count, _ = pixels.shape
    buffers = {"anchors": objects.tensor(pixels / strides[:, None, None].astype(np.float16))}
    if objects.anchor_grid:
        buffers["anchor_grid"] = objects.tensor(pixels.reshape(levels, 1, count, 1, 1, 2))
    outputs = module.children["m"].children["0"].arrays["weight"].shape[0] // count
    return {
        "_buffers": buffers,
        "nc": outputs - 5,
        "no": outputs,
        "nl": levels,
        "na": count,
        "grid": [objects.tensor(np.zeros(1, np.float32)) for _ in range(levels)],
        "stride": objects.tensor(strides),
    }


OWN: dict[str, Callable[[Objects, Module], dict[str, Any]]] = {
    "Conv2d": conv2d,
    "BatchNorm2d": norm,
    "MaxPool2d": max_pool,
    "Upsample": upsample,
    "Implicit": implicit,
    "RepConv": rep_conv,
    "Detect": detect,
    "SiLU": lambda objects, module: {"inplace": True},
    "LeakyReLU": lambda objects, module: {"negative_slope": 0.1, "inplace": True},
    "Concat": lambda objects, module: {"d": 1},
    "Bottleneck": lambda objects, module: {"add": module.attributes["add"]},
}


def save(
    path: Path,
    value: Any,
    storages: Sequence[bytes],
    *,
    top: str = "archive",
    order: str = "little",
) -> Path:
    """Write the archive as torch.save does: stored members, aligned, sizes behind the data."""
    members = {"data.pkl": dumps(value), "byteorder": order.encode()}
    members.update({f"data/{key}": data for key, data in enumerate(storages)})
    path.write_bytes(archive({f"{top}/{name}": data for name, data in members.items()}))
    return path


def archive(members: dict[str, bytes]) -> bytes:
    """A ZIP archive. The local headers hold no sizes (flag 8): only the list at the end does."""
    written, listed = b"", b""
    for name, data in members.items():
        place, raw, checksum = len(written), name.encode(), zlib.crc32(data)
        extra = -(place + 30 + len(raw) + 4) % ALIGNMENT
        local = struct.pack(
            "<4s5H3L2H", b"PK\3\4", 0, 0x808, 0, 0, 0, 0, 0, 0, len(raw), extra + 4
        )
        filler = struct.pack("<2sH", b"FB", extra) + b"Z" * extra
        sizes = struct.pack("<3L", checksum, len(data), len(data))
        written += local + raw + filler + data + b"PK\7\x08" + sizes
        fields = (0, 0, 0x808, 0, 0, 0, checksum, len(data), len(data), len(raw), 0, 0, 0, 0, 0)
        listed += struct.pack("<4s6H3L5H2L", b"PK\1\2", *fields, place) + raw
    end = (0, 0, len(members), len(members), len(listed), len(written), 0)
    return written + listed + struct.pack("<4s4H2LH", b"PK\5\6", *end)
