"""YOLOv7-tiny, the architecture as a table: 78 layers, 6.2 million parameters, LeakyReLU(0.1).

Names as in yolov7.py. Source: the released layer list; Wang et al. 2022, arXiv 2207.02696.
"""

from refquant.graph.blueprint import Blueprint

ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)


def table(net: Blueprint) -> None:
    """Append YOLOv7-tiny's rows."""
    net.conv(32, 3, 2)
    net.conv(64, 3, 2)
    net.elan(32, 32, 2, 64, "all")
    net.add("MP")
    b3 = net.elan(64, 64, 2, 128, "all")
    net.add("MP")
    b4 = net.elan(128, 128, 2, 256, "all")
    net.add("MP")
    net.elan(256, 256, 2, 512, "all")
    spp = net.spp(256)

    net.up(128, b4)
    n4 = net.elan(64, 64, 2, 128, "all")
    net.up(64, b3)
    n3 = net.elan(32, 32, 2, 64, "all")
    net.down(128, n4)
    d4 = net.elan(64, 64, 2, 128, "all")
    net.down(256, spp)
    d5 = net.elan(128, 128, 2, 256, "all")

    levels = [net.conv(c, 3, of=x) for c, x in ((128, n3), (256, d4), (512, d5))]
    net.detect(levels)
