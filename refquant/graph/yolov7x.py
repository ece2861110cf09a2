"""YOLOv7-X, the architecture as a table: 122 layers, 71.3 million parameters when folded.

YOLOv7 with chains of six convolutions instead of four, wider by a quarter; names as in yolov7.py,
whose anchors it has. Source: the released layer list; Wang et al. 2022, arXiv 2207.02696.
"""

from refquant.graph.blueprint import Blueprint


def table(net: Blueprint) -> None:
    """Append YOLOv7-X's rows."""
    net.conv(40, 3)
    net.conv(80, 3, 2)
    net.conv(80, 3)
    net.conv(160, 3, 2)
    net.elan(64, 64, 6, 320, "even")
    net.mpd(160)
    b3 = net.elan(128, 128, 6, 640, "even")
    net.mpd(320)
    b4 = net.elan(256, 256, 6, 1280, "even")
    net.mpd(640)
    net.elan(256, 256, 6, 1280, "even")
    spp = net.add("SPPCSPC", 640)

    net.up(320, b4)
    n4 = net.elan(256, 256, 6, 320, "even")
    net.up(160, b3)
    n3 = net.elan(128, 128, 6, 160, "even")
    net.mpd(160, n4)
    d4 = net.elan(256, 256, 6, 320, "even")
    net.mpd(320, spp)
    d5 = net.elan(512, 512, 6, 640, "even")

    net.detect([net.conv(c, 3, of=x) for c, x in ((320, n3), (640, d4), (1280, d5))])
