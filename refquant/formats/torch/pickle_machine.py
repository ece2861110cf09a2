"""The machine that a pickle drives: a stack, marks, a memo, and values that cannot do anything.

    stack   values under construction, the newest last
    marks   places in the stack, set by MARK; "the items" of an opcode lie above the last one
    memo    number -> value, for what is used more than once

Every method takes or gives a bounded number of values and refuses what is not there. The opcodes,
which are unpickle.py's, are made of them.
"""

import struct
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from refquant.arrays.errors import BadInput

MAX_NAME = 256  # bytes of a global's module or name
MAX_MEMO = 2**18  # values; one costs up to 82 bytes. A checkpoint has two per five opcodes
MOST_SHOWN = 80  # characters of a text in a message
SHORT, LENGTH, COUNT = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")
INTEGER, DOUBLE = struct.Struct("<i"), struct.Struct(">d")


class Global(NamedTuple):
    """What a name in a pickle stands for: a function of ours, and how many arguments it takes."""

    name: str
    make: Any
    arguments: tuple[int, ...]


@dataclass(eq=False)
class Instance:
    """An inert object: the name of its class and its attributes, nothing that runs."""

    name: str
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)
    built: bool = False

    @property
    def kind(self) -> str:
        """The last part of the class name, such as "Conv2d"."""
        return self.name.rsplit(".", 1)[-1]


class Ignored(NamedTuple):
    """A value that nothing here needs, such as the fitness of the best epoch."""

    name: str


def shown(value: Any) -> str:
    """A value of a pickle for a message, without following it: repr would, as deep as it goes."""
    if type(value) is str:
        return repr(value[:MOST_SHOWN])
    if type(value) in (int, float, bool, type(None)):
        return repr(value)
    if type(value) in (tuple, list) and len(value) <= 8:
        parts = [repr(v) if type(v) in (int, float) else type(v).__name__ for v in value]
        return f"({', '.join(parts)})"
    return f"a {type(value).__name__}"


class Machine:
    """Stack, marks and memo over the bytes of one pickle."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.position = data, start
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def fail(self, problem: str) -> NoReturn:
        raise BadInput(
            f"pickle, before byte {self.position}",
            problem,
            "the file is damaged, or no checkpoint of this family",
        )

    def advance(self, count: int) -> int:
        """Where the next `count` bytes begin; they count as read."""
        start = self.position
        if start + count > len(self.data):
            self.fail(f"{count} bytes wanted, {len(self.data) - start} left")
        self.position = start + count
        return start

    def take(self, count: int) -> bytes:
        """The next `count` bytes of the pickle."""
        start = self.advance(count)
        return self.data[start : start + count]

    def byte(self) -> int:
        """The next byte, as a number 0..255."""
        start = self.position
        if start >= len(self.data):
            self.fail("1 bytes wanted, 0 left")
        self.position = start + 1
        return self.data[start]

    def number(self, form: struct.Struct) -> Any:
        """The next number, of one of the forms above."""
        return form.unpack_from(self.data, self.advance(form.size))[0]

    def text(self, length: int) -> str:
        """The next text, of so many bytes."""
        return self._decoded(self.take(length))

    def line(self) -> str:
        """The text up to the next newline: half of a global's name."""
        end = self.data.find(b"\n", self.position, self.position + MAX_NAME)
        if end < 0:
            self.fail(f"a name has no end within {MAX_NAME} bytes")
        return self._decoded(self.take(end + 1 - self.position)[:-1])

    def _decoded(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            self.fail("a text is not UTF-8")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        """The newest value; those below the last mark are out of reach."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            self.fail("a value is missing on the stack")
        return self.stack.pop()

    def several(self, count: int) -> list[Any]:
        """The newest `count` values, oldest first."""
        if len(self.stack) - count < (self.marks[-1] if self.marks else 0):
            self.fail("a value is missing on the stack")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def top(self, kind: type | None = None) -> Any:
        """The newest value, which stays; of exactly this type, where one is given."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            self.fail("a value is missing on the stack")
        value = self.stack[-1]
        if kind is not None and type(value) is not kind:
            self.fail(f"{type(value).__name__} where {kind.__name__} is due")
        return value

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def items(self) -> list[Any]:
        """The values above the last mark; they and the mark are gone."""
        if not self.marks:
            self.fail("a mark is missing")
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def put(self, key: int) -> None:
        self.memo[key] = self.top()
        if len(self.memo) > MAX_MEMO:
            self.fail(f"more than {MAX_MEMO} values are in the memo")

    def get(self, key: int) -> None:
        if key not in self.memo:
            self.fail(f"memo {key} is empty")
        self.push(self.memo[key])

    def result(self) -> Any:
        """The only value that is left."""
        value = self.pop()
        if self.stack or self.marks:
            self.fail("values are left over")
        return value
