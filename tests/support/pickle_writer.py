"""Writes pickles of protocol 2 by hand, opcode by opcode, for classes that are not there.

Python's own writer must import every class that it names; a checkpoint names classes of PyTorch
and of a training code, and the tests have neither. Besides None, bool, int, float, str, tuple,
list and dict:

    Name("torch.nn.modules.conv", "Conv2d")     a global
    Call(name, arguments, state)                what the global returns for the arguments
    New(name, attributes)                       an object of the class, its __init__ not called
    Outside(reference)                          a persistent id
    Ordered(items, state)                       an OrderedDict, filled after it was made

What occurs twice is written once and fetched from the memo, as Python does: texts and names by
value, everything else by identity.
"""

import struct
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Name(NamedTuple):
    module: str
    name: str


@dataclass(eq=False)
class Call:
    name: Name
    arguments: tuple[Any, ...] = ()
    state: Any = None


@dataclass(eq=False)
class New:
    name: Name
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Outside:
    reference: tuple[Any, ...]


@dataclass(eq=False)
class Ordered:
    items: dict[str, Any]
    state: Any = None


def dumps(value: Any) -> bytes:
    """The pickle of a value."""
    writer = Writer()
    writer.write(value)
    return b"\x80\x02" + b"".join(writer.parts) + b"."


class Writer:
    """The opcodes so far, and where in the memo a value is."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.memo: dict[Any, int] = {}
        self.kept: list[Any] = []  # so that no identity is used twice

    def emit(self, *parts: bytes) -> None:
        self.parts.extend(parts)

    def remember(self, value: Any) -> None:
        number = self.memo[memo_key(value)] = len(self.memo)
        self.kept.append(value)
        self.emit(b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<I", number))

    def write(self, value: Any) -> None:
        if memo_key(value) in self.memo:
            number = self.memo[memo_key(value)]
            self.emit(b"h" + bytes([number]) if number < 256 else b"j" + struct.pack("<I", number))
        else:
            WRITERS[type(value)](self, value)

    def none(self, value: None) -> None:
        self.emit(b"N")

    def boolean(self, value: bool) -> None:
        self.emit(b"\x88" if value else b"\x89")

    def integer(self, value: int) -> None:
        if 0 <= value < 256:
            self.emit(b"K" + bytes([value]))
        elif 0 <= value < 65536:
            self.emit(b"M" + struct.pack("<H", value))
        elif -(2**31) <= value < 2**31:
            self.emit(b"J" + struct.pack("<i", value))
        else:
            raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.emit(b"\x8a", bytes([len(raw)]), raw)

    def floating(self, value: float) -> None:
        self.emit(b"G" + struct.pack(">d", value))

    def text(self, value: str) -> None:
        raw = value.encode()
        self.emit(b"X" + struct.pack("<I", len(raw)), raw)
        self.remember(value)

    def a_tuple(self, value: tuple[Any, ...]) -> None:
        if not value:
            self.emit(b")")
            return
        short = len(value) <= 3
        self.emit(b"" if short else b"(")
        for item in value:
            self.write(item)
        self.emit((b"\x85", b"\x86", b"\x87")[len(value) - 1] if short else b"t")
        self.remember(value)

    def a_list(self, value: list[Any]) -> None:
        self.emit(b"]")
        self.remember(value)
        self.items(value, b"a", b"e", 1)

    def a_dict(self, value: dict[Any, Any]) -> None:
        self.emit(b"}")
        self.remember(value)
        self.items([part for pair in value.items() for part in pair], b"s", b"u", 2)

    def items(self, parts: list[Any], one: bytes, many: bytes, each: int) -> None:
        if not parts:
            return
        single = len(parts) == each
        self.emit(b"" if single else b"(")
        for part in parts:
            self.write(part)
        self.emit(one if single else many)

    def name(self, value: Name) -> None:
        self.emit(f"c{value.module}\n{value.name}\n".encode())
        self.remember(value)

    def call(self, value: Call) -> None:
        self.write(value.name)
        self.write(value.arguments)
        self.emit(b"R")
        self.remember(value)
        if value.state is not None:
            self.write(value.state)
            self.emit(b"b")

    def new(self, value: New) -> None:
        self.write(value.name)
        self.emit(b")\x81")
        self.remember(value)
        self.write(value.attributes)
        self.emit(b"b")

    def outside(self, value: Outside) -> None:
        self.write(value.reference)
        self.emit(b"Q")

    def ordered(self, value: Ordered) -> None:
        self.write(Name("collections", "OrderedDict"))
        self.emit(b")R")
        self.remember(value)
        self.items([part for pair in value.items.items() for part in pair], b"s", b"u", 2)
        if value.state is not None:
            self.write(value.state)
            self.emit(b"b")


def memo_key(value: Any) -> Any:
    """Texts and names are the same if they are equal, other values if they are one object."""
    return (type(value), value) if type(value) in (str, Name) else id(value)


WRITERS = {
    type(None): Writer.none,
    bool: Writer.boolean,
    int: Writer.integer,
    float: Writer.floating,
    str: Writer.text,
    tuple: Writer.a_tuple,
    list: Writer.a_list,
    dict: Writer.a_dict,
    Name: Writer.name,
    Call: Writer.call,
    New: Writer.new,
    Outside: Writer.outside,
    Ordered: Writer.ordered,
}
