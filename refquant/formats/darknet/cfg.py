"""A Darknet description of a network (.cfg): sections, keys and values, and nothing that runs.

    [convolutional]        a section; sections stand in the order of the layers, [net] comes first
    filters = 32           its keys; blanks do not count
    # ...                  a comment, which takes a whole line; empty lines are skipped too

Every key of a section must be known: one that changes the result is read, one that only matters to
training is passed over, any other is refused by name. No number has more than nine digits.

Source  the cfg files of YOLOv7 and the documentation of Darknet.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from refquant.arrays.errors import BadInput

MOST_BYTES = 2**20  # of a file; the longest cfg of the family has 20,000
MOST_SECTIONS = 2000  # 160 in YOLOv7-X
INTEGER = re.compile(r"-?\d{1,9}", re.ASCII)
DECIMAL = re.compile(r"-?\d{1,9}(\.\d{0,9})?", re.ASCII)
TRAINING = {
    "convolutional": "stopbackward learning_rate",
    "route": "stopbackward",
    "maxpool": "",
    "upsample": "",
    "yolo": "jitter ignore_thresh truth_thresh random resize iou_thresh iou_normalizer iou_loss "
    "cls_normalizer obj_normalizer uc_normalizer objectness_smooth max_delta nms_kind beta_nms "
    "label_smooth_eps max scale_x_y_train show_details",
}
READ = {
    "convolutional": "batch_normalize filters size stride pad padding activation groups dilation",
    "route": "layers groups",
    "maxpool": "size stride padding",
    "upsample": "stride",
    "yolo": "mask anchors classes num scale_x_y new_coords",
}


class Section(NamedTuple):
    """A section of a description: its kind, its line in the file, its keys."""

    kind: str
    line: int
    values: Mapping[str, str]

    def fail(self, problem: str) -> NoReturn:
        raise BadInput(f"line {self.line}, [{self.kind}]", problem)

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """The integer of a key, within limits; without a default it must be there."""
        text = self.values.get(key)
        if text is None and default is not None:
            return default
        if text is None or not INTEGER.fullmatch(text) or not low <= int(text) <= high:
            self.fail(f"{key}={shown(text)}, not a whole number {low}..{high}")
        return int(text)

    def integers(self, key: str, most: int) -> list[int]:
        """The integers of a key, separated by commas."""
        parts = self.values.get(key, "").split(",")
        if len(parts) > most or not all(INTEGER.fullmatch(part) for part in parts):
            self.fail(f"{key}={shown(self.values.get(key))}, not up to {most} whole numbers")
        return [int(part) for part in parts]

    def decimals(self, key: str, most: int) -> list[float]:
        """The numbers of a key, separated by commas."""
        parts = self.values.get(key, "").split(",")
        if len(parts) > most or not all(DECIMAL.fullmatch(part) for part in parts):
            self.fail(f"{key}={shown(self.values.get(key))}, not up to {most} numbers")
        return [float(part) for part in parts]

    def require(self, **due: str) -> None:
        """Refuse keys with other values; those that are absent are fine."""
        for key, value in due.items():
            if self.values.get(key, value) not in (value, f"{value}.0", f"{value}."):
                self.fail(f"{key}={shown(self.values[key])}: only {value} is supported")


def shown(text: str | None) -> str:
    """A value for a message."""
    return "(absent)" if text is None else text[:60]


def parse(data: bytes) -> list[Section]:
    """The sections of a description, the first of them [net]; BadInput names line and key."""
    if len(data) > MOST_BYTES:
        raise BadInput("cfg", f"{len(data)} bytes are more than {MOST_BYTES}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput("cfg", "it is no text", "give a Darknet .cfg file") from error
    sections: list[tuple[str, int, dict[str, str]]] = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        line = "".join(line.split())
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.endswith("]"):
            sections.append((line[1:-1][:40], number, {}))
            continue
        key, equals, value = line.partition("=")
        if not equals or not sections or len(sections) > MOST_SECTIONS:
            raise BadInput(f"line {number}", f"{line[:60]!r} is no key=value of a section")
        # The first one counts, as in Darknet.
        sections[-1][2].setdefault(key, value)
    found = [Section(*section) for section in sections]
    check(found)
    return found


def check(sections: list[Section]) -> None:
    """Refuse unknown kinds and keys, and a file without [net] and layers."""
    if len(sections) < 2 or sections[0].kind not in ("net", "network"):
        raise BadInput("cfg", "it does not begin with [net] and layers", "give a Darknet .cfg")
    if len(sections) > MOST_SECTIONS:
        raise BadInput("cfg", f"it has more than {MOST_SECTIONS} sections")
    sections[0].require(channels="3")
    for section in sections[1:]:
        if section.kind not in READ:
            section.fail(f"this layer is not known: only {', '.join(READ)} are")
        known = {*READ[section.kind].split(), *TRAINING[section.kind].split()}
        unknown = [key for key in section.values if key not in known]
        if unknown:
            section.fail(f"the key {unknown[0][:40]!r} is not known")
