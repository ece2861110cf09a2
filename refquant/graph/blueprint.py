"""The grammar of the YOLOv7 family: a short table is drawn as rows, one row per layer.

A row is (sources, kind, arguments): the absolute indices of the layers that it reads, the kind of
its module (blocks.py says what each kind is) and its arguments. A table is a function that draws
on a `Blueprint`; each method appends the rows of a pattern and returns the index of the last one.
p is the pattern's input, C(c, k, s) a convolution of c filters, kernel k and stride s.

    ELAN(m, h, n, out, taps)  a = C(m,1) of p; b = C(m,1) of p; t1 ... tn = C(h,3), a chain from b;
                              concat; C(out,1). taps "all": [tn, ..., t1, b, a];
                              "even": [tn, t(n-2), ..., t2, b, a]
    MPD(c, skip)              [C(c,3,2) of C(c,1) of p, C(c,1) of maxpool of p, skip]
    UP(c, skip)               [C(c,1) of skip, upsampled C(c,1) of p]
    DN(c, skip)               [C(c,3,2) of p, skip]
    E2(...)                   two ELANs of the same p, each with weights of its own; their sum
    SPP(c)                    yolov7-tiny's pyramid of poolings, as layers of its own
Source: Wang, Bochkovskiy and Liao 2022, arXiv 2207.02696; layer lists of the released files.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One layer of an architecture: what it reads, what it is, with which arguments."""

    sources: tuple[int, ...]
    kind: str
    arguments: tuple[Any, ...] = ()


class Blueprint:
    """The rows drawn so far; each method appends rows and returns the index of the last one.

    auxiliary    whether `detect` appends the auxiliary convolutions of the training form
    """

    def __init__(self, auxiliary: bool = False) -> None:
        self.rows: list[Row] = []
        self.auxiliary = auxiliary

    @property
    def last(self) -> int:
        """The index of the last row; it is -1 (the image) at the start."""
        return len(self.rows) - 1

    def add(self, kind: str, *arguments: Any, of: int | Sequence[int] | None = None) -> int:
        """Append a row that reads the layer or layers `of`, by default the previous one."""
        if of is None:
            of = self.last
        sources = (of,) if isinstance(of, int) else tuple(of)
        self.rows.append(Row(sources, kind, arguments))
        return self.last

    def conv(self, filters: int, kernel: int, stride: int = 1, of: int | None = None) -> int:
        return self.add("Conv", filters, kernel, stride, of=of)

    def elan(self, m: int, h: int, n: int, out: int, taps: str, of: int | None = None) -> int:
        p = self.last if of is None else of
        a = self.conv(m, 1, of=p)
        b = self.conv(m, 1, of=p)
        chain = [self.conv(h, 3) for _ in range(n)]
        chosen = chain if taps == "all" else chain[1::2]
        self.add("Concat", of=[*reversed(chosen), b, a])
        return self.conv(out, 1)

    def e2(self, m: int, h: int, n: int, out: int, taps: str) -> int:
        p = self.last
        first = self.elan(m, h, n, out, taps)
        second = self.elan(m, h, n, out, taps, of=p)
        return self.add("Shortcut", of=[second, first])

    def mpd(self, c: int, *skip: int) -> int:
        p = self.last
        self.add("MP")
        pooled = self.conv(c, 1)
        self.conv(c, 1, of=p)
        strided = self.conv(c, 3, 2)
        return self.add("Concat", of=[strided, pooled, *skip])

    def up(self, c: int, skip: int) -> int:
        self.conv(c, 1)
        upsampled = self.add("Upsample")
        lateral = self.conv(c, 1, of=skip)
        return self.add("Concat", of=[lateral, upsampled])

    def down(self, c: int, skip: int) -> int:
        strided = self.conv(c, 3, 2)
        return self.add("Concat", of=[strided, skip])

    def spp(self, c: int) -> int:
        p = self.last
        a = self.conv(c, 1, of=p)
        b = self.conv(c, 1, of=p)
        pools = [self.add("SP", kernel, of=b) for kernel in (5, 9, 13)]
        self.add("Concat", of=[*reversed(pools), b])
        joined = self.conv(c, 1)
        self.add("Concat", of=[joined, a])
        return self.conv(c, 1)

    def detect(self, leads: Sequence[int], auxiliary: Sequence[tuple[int, int]] = ()) -> int:
        """Append the head, on the lead layers; in the training form on auxiliary ones as well.

        auxiliary    (filters, layer) per level: C(filters, 3) of that layer
        """
        chosen = auxiliary if self.auxiliary else ()
        return self.add("Detect", of=[*leads, *(self.conv(c, 3, of=x) for c, x in chosen)])
