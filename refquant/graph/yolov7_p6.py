"""YOLOv7-W6, E6, D6 and E6E as one table with four sets of widths: four levels, strides 8 to 64.

    stem       ReOrg (2 x 2 pixels of 3 channels become one of 12), C(stem, 3)
    backbone   per stride 4, 8, 16, 32, 64: down to `out` channels, then ELAN -> B2 ... B6
    spp        SPPCSPC(spp) of B6
    up         per stride 32, 16, 8: UP(neck, B5 | B4 | B3), then ELAN -> N5, N4, N3
    down       per stride 16, 32, 64: down to `neck`, with N4 | N5 | spp, then ELAN -> D4, D5, D6
    head       C(lead, 3) of N3, D4, D5, D6; the training form's auxiliary ones of N3, N4, N5, spp

W6 goes down by a strided convolution, the others by DownC. In place of each ELAN, E6E has a pair
of them (E2); its auxiliary convolutions read the second of a pair, before the sum.
Source: the released layer lists; Wang et al. 2022, arXiv 2207.02696.
"""

from typing import NamedTuple

from refquant.graph.blueprint import Blueprint

ANCHORS = (
    ((19, 27), (44, 40), (38, 94)),
    ((96, 68), (86, 152), (180, 137)),
    ((140, 301), (303, 264), (238, 542)),
    ((436, 615), (739, 380), (925, 792)),
)
BACKBONE = (64, 128, 256, 384, 512)  # m and h of the ELANs at strides 4 ... 64
NECK = ((128, 64), (256, 128), (384, 192), (512, 256))  # (m, h) of the ELANs at strides 8 ... 64


class Widths(NamedTuple):
    """What the four networks differ in: filters, one number per stride, the finest first.

    chain    the 3x3 convolutions in an ELAN
    down     the kind of the layer that halves a map: "Conv" or "DownC"
    pairs    whether E2 stands in place of ELAN
    """

    stem: int
    chain: int
    backbone: tuple[int, ...]  # strides 4 ... 64
    spp: int
    neck: tuple[int, ...]  # strides 8 ... 64
    lead: tuple[int, ...]
    auxiliary: tuple[int, ...]
    down: str
    pairs: bool = False

    def elan(self, net: Blueprint, m: int, h: int, out: int, taps: str) -> int:
        make = net.e2 if self.pairs else net.elan
        return make(m, h, self.chain, out, taps)

    def halve(self, net: Blueprint, c: int) -> int:
        """Append what halves the map and gives c channels."""
        return net.conv(c, 3, 2) if self.down == "Conv" else net.add("DownC", c)

    def in_neck(self, net: Blueprint, level: int) -> int:
        return self.elan(net, *NECK[level], self.neck[level], "all")


W6 = Widths(
    64,
    4,
    (128, 256, 512, 768, 1024),
    512,
    (128, 256, 384, 512),
    (256, 512, 768, 1024),
    (320, 640, 960, 1280),  # as released; the other networks have those of `lead`
    "Conv",
)
E6 = Widths(
    80,
    6,
    (160, 320, 640, 960, 1280),
    640,
    (160, 320, 480, 640),
    (320, 640, 960, 1280),
    (320, 640, 960, 1280),
    "DownC",
)
D6 = Widths(
    96,
    8,
    (192, 384, 768, 1152, 1536),
    768,
    (192, 384, 576, 768),
    (384, 768, 1152, 1536),
    (384, 768, 1152, 1536),
    "DownC",
)
E6E = E6._replace(pairs=True)


def table(net: Blueprint, widths: Widths) -> None:
    """Append the rows of the network with these widths."""
    net.add("ReOrg")
    net.conv(widths.stem, 3)
    backbone = []
    for m, out in zip(BACKBONE, widths.backbone, strict=True):
        widths.halve(net, out)
        backbone.append(widths.elan(net, m, m, out, "even"))
    _, b3, b4, b5, _ = backbone
    spp = net.add("SPPCSPC", widths.spp)

    net.up(widths.neck[2], b5)
    n5 = widths.in_neck(net, 2)
    net.up(widths.neck[1], b4)
    n4 = widths.in_neck(net, 1)
    net.up(widths.neck[0], b3)
    n3 = widths.in_neck(net, 0)
    ends = [n3]
    for level, skip in ((1, n4), (2, n5), (3, spp)):
        halved = widths.halve(net, widths.neck[level])
        net.add("Concat", of=[halved, skip])
        ends.append(widths.in_neck(net, level))

    leads = [net.conv(c, 3, of=x) for c, x in zip(widths.lead, ends, strict=True)]
    before_sum = 1 if widths.pairs else 0
    taps = (n3 - before_sum, n4 - before_sum, n5 - before_sum, spp)
    net.detect(leads, tuple(zip(widths.auxiliary, taps, strict=True)))


def w6(net: Blueprint) -> None:
    """Append YOLOv7-W6's rows: 119 layers, 70.4 million parameters when folded."""
    table(net, W6)


def e6(net: Blueprint) -> None:
    """Append YOLOv7-E6's rows: 141 layers, 97.2 million parameters when folded."""
    table(net, E6)


def d6(net: Blueprint) -> None:
    """Append YOLOv7-D6's rows: 163 layers, 133.8 million parameters when folded."""
    table(net, D6)


def e6e(net: Blueprint) -> None:
    """Append YOLOv7-E6E's rows: 262 layers, 151.7 million parameters when folded."""
    table(net, E6E)
