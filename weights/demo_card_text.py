"""The words of the model card; demo_card.py fills in the figures."""

CARD = """\
# demo: the model and the data that come with refquant

Written by `python -m weights.demo_card`; every figure is measured by it or taken from `demo.json`,
which `weights/export_demo.py` wrote.

## What it is
YOLOv7 in the layers of `refquant/graph/yolov7.py` at an eighth of their width: {parameters:,}
parameters in training form (batch norms, RepConv branches, implicit layers), {folded:,} folded,
input {input_size} x {input_size} pixels. It finds {classes} kinds of shapes in scenes made by
rule: {names}.
`demo.h5` ({megabytes} MB, float32) holds the folded model; content_sha256
`{content_sha256}`.

It is there so that the main job runs on a fresh machine, the tests mean something, and a whole
network can be retraced by hand.

## What it is not
A detector of things in photographs: it has seen nothing but drawn shapes and knows no class of
COCO. Nor a measure of what YOLOv7 reaches: the figures say how this small network on this data
answers to quantization; larger networks have more weights per decision, and others.

## Data
`weights/scenes.py` draws textured shapes on noisy backgrounds, with occlusion and clutter that
belongs to no class; nothing is taken from elsewhere. Validation: `demo/`, {image_count} images
with {truth_count} objects as lossless files, fixed before any quantized figure was seen; sha256
over its files `{data_sha256}`.
Training: images of another seed, disjoint from the validation images.

## Training
{script}, seed {seed}: {step} steps of {batch} images with PyTorch {torch} on one CPU thread,
NumPy {numpy}; rounds (side in pixels, images, learning rate) {rounds}.
Assignment and loss are written from the literature (`demo_loss.py` names it). The weights are
those after the last step. The curve below was watched, and the second round was added when the
first showed how small objects fare: so this AP is of a set that has guided one choice. Two runs
from one seed on one machine with the same versions give the same weights, also when one of them
was interrupted; another CPU may sum in another order, and its weights then differ.

{curve}

## Accuracy
On the validation set, by `evaluate` at size {input_size} (conf 0.001, IoU 0.65), in percent:

| AP | AP50 | AP75 | APs | APm | APl |
|---|---|---|---|---|---|
| {AP} | {AP50} | {AP75} | {APs} | {APm} | {APl} |

By COCO's areas {small} of the true boxes are small, {medium} medium and {large} large: APl rests
on these {large} alone.

The unfolded network in PyTorch, with the same decode, NMS and judge: AP {torch_points}; the
difference is {difference} points. One evaluation took {seconds} s on {threads} threads.

{per_class}

## Quantized weights
Affine, every convolution, biases in float32, nothing retrained; AP in points:

{quantized}

## How to make it again
    python -m weights.scene_files val weights/demo
    python -m weights.scene_files train DATA --count 9000
    python -m weights.train_demo DATA OUT
    python -m weights.export_demo OUT/checkpoint.pt OUT/curve.jsonl
    python -m weights.demo_card
"""
