"""The average precision of the PyTorch network itself, with refquant's decode and NMS.

It serves the curve of the training, and as the peer that `refquant evaluate` is compared with:
the convolutions are PyTorch's, unfolded; everything behind the raw maps is the same.
"""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from refquant.detection.letterbox import Letterbox, fit, letterbox, to_image
from refquant.engine.fast import decode_fast
from refquant.graph.architecture import STRIDES
from refquant.ops.nms import candidates, nms

from .scenes import SIDE
from .torch_net import Network

CONF, IOU, BATCH = 0.001, 0.65, 20


def predictions(net: Network, anchors: Any, images: np.ndarray, place: Letterbox) -> np.ndarray:
    """(N, SIDE, SIDE, 3) uint8 -> (N, rows, E) float32."""
    images = np.stack([letterbox(image, place) for image in images])
    x = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    with torch.no_grad():
        raw = [level.numpy() for level in net(torch.from_numpy(x))]
    return decode_fast(*raw, anchors=np.array(anchors, np.float32), strides=STRIDES)


def average_precision(net: Network, anchors: Any, folder: Path, side: int) -> list[float]:
    """The 12 numbers of COCOeval, AP first, on FOLDER/val at an input of side x side pixels."""
    place = fit((SIDE, SIDE), (side, side))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "annotations" / "instances_val.json"))
        ids = sorted(truth.imgs)
        results = []
        for k in range(0, len(ids), BATCH):
            some = ids[k : k + BATCH]
            names = [truth.imgs[i]["file_name"] for i in some]
            photos = [Image.open(folder / "val" / name).convert("RGB") for name in names]
            for i, rows in zip(some, predictions(net, anchors, np.stack(photos), place)):
                results += entries(i, rows, place)
        if not results:
            return [0.0] * 12
        judge = COCOeval(truth, truth.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [float(value) for value in judge.stats]


def entries(image: int, rows: np.ndarray, place: Letterbox) -> list[dict[str, Any]]:
    """The detections of one image as COCO has them."""
    found = nms(candidates(rows, conf=CONF, multi_label=True), iou=IOU)
    boxes = to_image(found.boxes, place)  # cut at the border, as every detection is
    return [
        {
            "image_id": image,
            "category_id": int(label) + 1,
            "bbox": [float(v) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
            "score": float(score),
        }
        for box, score, label in zip(boxes, found.scores, found.classes)
    ]
