"""YOLOv7, the architecture as a table: 106 layers, 36.9 million parameters when folded.

Whoever wants to know how a network is read, folded and run starts here. It has five forms, and a
file makes each of them from the one above:

    row            Row((50,), "SPPCSPC", (512,))         drawn below, on blueprint.py
      |  architecture.py with random arrays,             (both put a block together by the record
      |  formats/state_dict.py with a file's tensors      that blocks.py has of it)
      v
    module         SPPCSPC of cv1 ... cv7 and m          module.py; a whole checkpoint of PyTorch
      |  lower.py, which adds the nodes of each module   comes in here (formats/torch/layers.py)
      v
    node           model.51.cv1.conv, .bn, .act, ...     graph.py; files of Darknet and of ONNX
      |  fold.py, in float64                             come in here (formats/darknet/layers.py,
      v                                                  formats/onnx/graph.py)
    folded node    model.51.cv1.conv with its SiLU       what is quantized, stored and exported
      |  engine/plan.py, for one size of the image
      v
    plan           a place in memory for each map,       engine/node_steps.py makes its steps,
                   and the order of the nodes            engine/program.py runs them

In the table B3, B4, B5 are the backbone's outputs at strides 8, 16 and 32; N4, N3 go up the neck,
and D4, D5 go down again; the head reads N3, D4 and D5. Widths are those of the published network
at width 1.0.
Source: Wang, Bochkovskiy and Liao 2022, arXiv 2207.02696; checked against the released layer list.
"""

from refquant.graph.blueprint import Blueprint

ANCHORS = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)


def table(net: Blueprint) -> None:
    """Append YOLOv7's rows."""
    net.conv(32, 3)
    net.conv(64, 3, 2)
    net.conv(64, 3)
    net.conv(128, 3, 2)
    net.elan(64, 64, 4, 256, "even")
    net.mpd(128)
    b3 = net.elan(128, 128, 4, 512, "even")
    net.mpd(256)
    b4 = net.elan(256, 256, 4, 1024, "even")
    net.mpd(512)
    net.elan(256, 256, 4, 1024, "even")
    spp = net.add("SPPCSPC", 512)

    net.up(256, b4)
    n4 = net.elan(256, 128, 4, 256, "all")
    net.up(128, b3)
    n3 = net.elan(128, 64, 4, 128, "all")
    net.mpd(128, n4)
    d4 = net.elan(256, 128, 4, 256, "all")
    net.mpd(256, spp)
    d5 = net.elan(512, 256, 4, 512, "all")

    levels = [net.add("RepConv", c, of=x) for c, x in ((256, n3), (512, d4), (1024, d5))]
    net.detect(levels)
