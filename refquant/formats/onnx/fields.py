"""How much would an ONNX file grow when it is parsed? Its fields are counted before that.

A protobuf message is a list of fields. A field is a tag, number * 8 + kind, and then

    kind 0    a varint: 7 bits per byte, the lowest first, the top bit set if more follow
    kind 1    8 bytes
    kind 2    a varint, the length, and as many bytes: a text, a message, or packed numbers
    kind 5    4 bytes

Two bytes are an empty message already, of which the library makes an object of 170 bytes
(measured: 10 MB of empty tensors take 830 MB), and a packed varint of one byte becomes a number of
eight. So the fields of all messages are counted, as the library's own descriptions nest them, and
so are the bytes of packed varints. Real exports have 50 fields per operation.

Source  https://protobuf.dev/programming-guides/encoding
"""

import functools
from typing import Any, NamedTuple

from refquant.arrays.errors import BadInput

MOST_FIELDS = 2**18  # E6E, exported without simplification, has 3,000 operations
MOST_PACKED = 2**20  # bytes; weights are in raw_data, or packed as floats
LONGEST_VARINT = 10  # bytes: 64 bits
FIXED = {1: 8, 5: 4}  # kind -> bytes
WIDENED = frozenset((3, 4, 5, 8, 13, 14, 17, 18))  # FieldDescriptor.type: packed as varints


class Message(NamedTuple):
    """A stretch of the file that is a message, and how the library describes such a message."""

    start: int
    end: int
    description: Any


def check_fields(data: bytes, description: Any) -> None:
    """Refuse what is no message, and what has too many fields; `description` is the outermost's.

    Iterative: messages may nest as deep as the file is long.
    """
    fields = packed = 0
    waiting = [Message(0, len(data), description)]
    while waiting:
        place, end, description = waiting.pop()
        known = kinds_of(description)
        while place < end:
            tag, place = varint(data, place, end)
            start, place = value(data, place, end, tag & 7)
            fields += 1
            inner = known.get(tag >> 3) if tag & 7 == 2 else None
            if inner is WIDENED:
                packed += place - start
            elif inner is not None:
                waiting.append(Message(start, place, inner))
            if fields > MOST_FIELDS or packed > MOST_PACKED:
                limits = f"{MOST_FIELDS} fields, {MOST_PACKED} bytes of packed integers"
                raise BadInput("protobuf", f"it has more than {limits}", "is it a model's file?")


def varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    """The number that begins at `place`, and where the next thing begins."""
    result = 0
    for i, byte in enumerate(data[place : min(end, place + LONGEST_VARINT)]):
        result |= (byte & 127) << 7 * i
        if byte < 128:
            return result, place + i + 1
    raise no_message()


def value(data: bytes, place: int, end: int, kind: int) -> tuple[int, int]:
    """Where the bytes of a field's value begin and end."""
    start = place
    if kind == 2:
        length, start = varint(data, place, end)
        stop = start + length
    elif kind in FIXED:
        stop = place + FIXED[kind]
    elif kind == 0:
        _, stop = varint(data, place, end)
    else:
        raise no_message()
    if stop > end:
        raise no_message()
    return start, stop


def no_message() -> BadInput:
    return BadInput("protobuf", "it is no ONNX file, or cut off", "export or copy it again")


@functools.cache  # one entry per message of ONNX, about twenty
def kinds_of(description: Any) -> dict[int, Any]:
    """Number of a field -> the description of the message that it holds, or WIDENED."""
    found = {}
    for number, field in description.fields_by_number.items():
        if field.message_type is not None:
            found[number] = field.message_type
        elif field.type in WIDENED:
            found[number] = WIDENED
    return found
