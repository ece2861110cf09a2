"""From an image to detections: letterbox, network, candidates, NMS, and back to the image.

    image (H, W, 3) uint8  --letterbox-->  x (1, 3, h, w) float32
          --run-->  predictions (rows, 5 + classes) float32
          --candidates, NMS-->  boxes in pixels of x, scores, classes
          --to_image-->  Detections in pixels of the image

A Protocol holds every choice on that way. Three of them have names:
    detect   that of the public detect code: the minimal rectangle, conf 0.25, IoU 0.45, the best
             class only
    square   for AP: the whole square, conf 0.001, IoU 0.65, multi-label
    yolov7   for AP as the public test code measures it: the rectangles of batch_shapes.py, conf
             0.001, IoU 0.65, multi-label, its NMS ("compat") and its way back ("stored")
All three keep at most 300 detections; the first two use NMS per class and the exact way back.
"""

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.arrays.table import Table
from refquant.detection.batch_shapes import BATCH, place_in
from refquant.detection.image import read_image
from refquant.detection.letterbox import (
    BACK,
    Letterbox,
    Size,
    fit,
    letterbox,
    to_image,
    to_input,
)
from refquant.engine.walk import run
from refquant.graph.graph import Model
from refquant.ops.nms import MODES, MOST_DETECTIONS, candidates, nms, within_unit

LARGEST = 8192  # pixels; an input of that size takes 805 MB


@dataclass(frozen=True)
class Detections:
    """What was found in an image, the best first; D is the number of detections.

    Parameters
    ----------
    boxes : (D, 4) float32 array
        The corners x1, y1, x2, y2 in pixels of the image, within its borders.
    scores : (D,) float32 array
        The scores in (0, 1], in descending order.
    classes : (D,) int64 array
        The indices of the classes in the model's `class_names`.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Protocol:
    """How an image is prepared and how predictions are decided.

    size         the longer side of the network's input in pixels, which is rounded up to a
                 multiple of the model's stride
    rectangle    whether the grey bars are cut to the minimum
    conf         the score that a candidate must exceed
    iou          the intersection over union above which the worse of two boxes is dropped
    multi_label  whether a box may count for several classes
    nms, back    names of ops/nms.py and of letterbox.py
    most         the number of detections that are kept per image
    batch        the number of images that share the shape of an input by batch_shapes.py, or 0
                 for the geometry of letterbox.py
    """

    name: str
    size: int = 640
    rectangle: bool = True
    conf: float = 0.25
    iou: float = 0.45
    multi_label: bool = False
    nms: str = "exact"
    back: str = "exact"
    most: int = MOST_DETECTIONS
    batch: int = 0

    def __post_init__(self) -> None:
        for name in ("size", "most", "batch"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer):
                raise BadInput(f"{name}={value!r}", "choose a whole number")
        if not 1 <= self.size <= LARGEST:
            raise BadInput(f"size={self.size}", f"choose 1 ... {LARGEST}")
        if self.most < 1:
            raise BadInput(f"most={self.most}", "choose 1 or more")
        if self.batch < 0:
            raise BadInput(f"batch={self.batch}", "choose 1 or more, or 0 for no batches")
        within_unit("conf", self.conf)
        within_unit("iou", self.iou)
        for name, value, choices in (("nms", self.nms, MODES), ("back", self.back, BACK)):
            if value not in choices:
                raise BadInput(f"{name}={value!r}", f"choose {' | '.join(choices)}")


DETECT = Protocol("detect")
SQUARE = Protocol("square", rectangle=False, conf=0.001, iou=0.65, multi_label=True)
YOLOV7 = replace(SQUARE, name="yolov7", nms="compat", back="stored", batch=BATCH)
PROTOCOLS = Table("protocol", (DETECT, SQUARE, YOLOV7))


def detect(
    model: Model,
    image: str | os.PathLike[str] | NDArray[np.uint8],
    *,
    conf: float = 0.25,
    iou: float = 0.45,
    size: int | None = None,
    multi_label: bool = False,
    nms: str = "exact",
    rectangle: bool = True,
    threads: int = 1,
) -> Detections:
    """Find the objects in an image.

    The image is scaled into the network's input, with grey bars around it; the network's
    candidates are thinned out by non-maximum suppression, and their boxes are taken back to the
    image. The defaults are those of the public YOLOv7 detect code.

    Parameters
    ----------
    model : Model
        The model.
    image : str or path-like, or (H, W, 3) uint8 array
        The file of an image, or its pixels in RGB.
    conf : float, default: 0.25
        The score, in [0, 1], that a detection must exceed.
    iou : float, default: 0.45
        The intersection over union, in [0, 1], above which the worse of two boxes is dropped.
    size : int, optional
        The longer side of the network's input in pixels, which is rounded up to a multiple of the
        model's stride; the model's own (`Model.input_size`) where it is left out.
    multi_label : bool, default: False
        Whether a box may count for several classes.
    nms : {"exact", "compat"}, default: "exact"
        The non-maximum suppression: "exact" by class, or "compat" as the public code has it.
    rectangle : bool, default: True
        Whether the grey bars are cut to the least that the stride allows; otherwise the input is
        a square.
    threads : int, default: 1
        The number of threads; no bit of the result depends on it.

    Returns
    -------
    Detections
        At most 300 boxes with their scores and classes.

    Raises
    ------
    BadInput
        If the image cannot be read, or if an option is out of its range.

    References
    ----------
    .. [1] Wang, Bochkovskiy, Liao, "YOLOv7: Trainable bag-of-freebies sets new state-of-the-art
       for real-time object detectors", 2022, arXiv:2207.02696.

    Examples
    --------
    >>> import refquant
    >>> model = refquant.load_model("demo")
    >>> image = refquant.find_dataset("demo").folder / "00003.png"
    >>> found = refquant.detect(model, image)
    >>> [model.class_names[k] for k in found.classes]
    ['disc', 'ring', 'ring']
    >>> found.boxes.round().tolist()
    [[99.0, 41.0, 135.0, 78.0], [3.0, 25.0, 41.0, 73.0], [19.0, 124.0, 35.0, 140.0]]
    """
    protocol = replace(
        DETECT,
        conf=conf,
        iou=iou,
        size=model.input_size if size is None else size,
        multi_label=multi_label,
        nms=nms,
        rectangle=rectangle,
    )
    pixels = image if isinstance(image, np.ndarray) else read_image(image)
    return predict(model, pixels, protocol, threads=threads)


def predict(
    model: Model,
    image: NDArray[np.uint8],
    protocol: Protocol,
    *,
    net: Size | None = None,
    threads: int = 1,
    arithmetic: str = "fast",
) -> Detections:
    """Detections in an image (H, W, 3) uint8 RGB by a protocol; `arithmetic` is that of walk.

    net    the size of the batch's input (batch_shapes.py), for protocols with batches
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise BadInput("image", f"{image.dtype} {image.shape} is not uint8 (H, W, 3)")
    place = place_of((image.shape[0], image.shape[1]), protocol, model.stride, net)
    x = to_input(letterbox(image, place))
    predictions = forward(model, x, threads=threads, arithmetic=arithmetic)
    found = candidates(predictions[0], conf=protocol.conf, multi_label=protocol.multi_label)
    best = nms(found, iou=protocol.iou, mode=protocol.nms, most=protocol.most)
    return Detections(to_image(best.boxes, place, protocol.back), best.scores, best.classes)


def place_of(image: Size, protocol: Protocol, stride: int, net: Size | None = None) -> Letterbox:
    """Where an image of that size lies in the network's input."""
    if protocol.batch:
        return place_in(image, protocol.size, stride, net)
    side = -(-protocol.size // stride) * stride
    return fit(image, (side, side), rectangle=protocol.rectangle, stride=stride)


def forward(
    model: Model, x: NDArray[np.float32], *, threads: int = 1, arithmetic: str = "fast"
) -> NDArray[Any]:
    """The model's last output, predictions (N, rows, 5 + classes), for x (N, 3, H, W)."""
    return run(model, x, arithmetic=arithmetic, threads=threads)
