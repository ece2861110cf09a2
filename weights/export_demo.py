"""From the trainer's checkpoint to what is shipped: the folded model, its facts, and goldens.

    python -m weights.export_demo OUT/checkpoint.pt OUT/curve.jsonl

demo.h5      the running mean's arrays in the table's layers, lowered, folded in float64, rounded
             once to float32; provenance in `source`
demo.json    seed, versions, curve, hash of the validation set, and the AP that PyTorch's own,
             unfolded network reaches on it: what demo_card.py compares refquant with
tests/goldens/demo_raw.npz    PyTorch's raw maps of the training form on GOLDEN_IMAGES, float32:
             what the tests hold the folded model to
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image

from refquant.detection.letterbox import fit, letterbox, to_input
from refquant.formats.catalogue import save_model
from refquant.graph.architecture import ARCHITECTURES, Architecture, layers_of
from refquant.graph.fold import fold
from refquant.graph.graph import Model, cast, count
from refquant.graph.lower import lower

from .demo_ap import average_precision
from .scene_files import sha256_of
from .scenes import NAMES, SIDE
from .torch_net import Network, network, starting_arrays, trained_layers
from .train_demo import INPUT, WIDTH

HERE = Path(__file__).parent
GOLDEN_IMAGES = ("00000.png", "00123.png", "00321.png")
LICENCE = "Apache-2.0, as refquant: trained by refquant's authors on data of their own"


def unfolded_model(state: dict[str, Any], architecture: Architecture, source: Any) -> Model:
    """The training form as refquant's graph, with the arrays of the state_dict."""
    make = starting_arrays(np.random.default_rng(0), len(NAMES))
    layers = layers_of(architecture, WIDTH, len(NAMES), True, make)
    arrays = {key: value.numpy() for key, value in state.items()}
    nodes = lower(trained_layers(layers, arrays))
    return Model(nodes, NAMES, False, count(nodes), source, LICENCE)


def trained_network(stored: dict[str, Any], architecture: Architecture) -> Network:
    """PyTorch's network with the running mean's arrays, ready to be asked."""
    net = network(architecture, WIDTH, len(NAMES), 0)
    net.load_state_dict(stored["ema"])
    return net.eval().requires_grad_(False)


def golden_maps(net: Network) -> dict[str, np.ndarray]:
    """PyTorch's raw maps: "level0" ... (3, A*E, H, W) float32."""
    photos = [Image.open(HERE / "demo" / "val" / name).convert("RGB") for name in GOLDEN_IMAGES]
    place = fit((SIDE, SIDE), (INPUT, INPUT))
    x = np.concatenate([to_input(letterbox(np.asarray(photo), place)) for photo in photos])
    return {f"level{k}": y.numpy() for k, y in enumerate(net(torch.from_numpy(x)))}


def thinned(curve: Path, lines: int = 60) -> list[dict[str, float]]:
    """The training curve: every measured AP, and about `lines` of the losses."""
    notes = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
    losses = [note for note in notes if "box" in note]
    kept = losses[:: max(1, len(losses) // lines)]
    return sorted(kept + [note for note in notes if "AP" in note], key=lambda note: note["step"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Export the trained demo.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("curve", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    stored = torch.load(args.checkpoint, weights_only=True)
    anchors = tuple(tuple(tuple(pair) for pair in level) for level in stored["anchors"])
    architecture = ARCHITECTURES["yolov7"]._replace(anchors=anchors)
    net = trained_network(stored, architecture)
    facts = {
        "script": "weights/train_demo.py",
        "step": stored["step"],
        **stored["facts"],
        "pillow": PIL.__version__,
        "input_size": INPUT,
        "data_sha256": sha256_of(HERE / "demo"),
        "checkpoint_sha256": hashlib.sha256(args.checkpoint.read_bytes()).hexdigest(),
    }
    source = {"name": "demo", **{key: str(value) for key, value in facts.items()}}
    model = fold(unfolded_model(stored["ema"], architecture, source))
    model = model.with_nodes(tuple(cast(node, np.float32) for node in model.nodes))
    content = save_model(model, HERE / "demo.h5")
    goldens = HERE.parent / "tests" / "goldens"
    goldens.mkdir(exist_ok=True)
    np.savez_compressed(goldens / "demo_raw.npz", images=GOLDEN_IMAGES, **golden_maps(net))
    ap = average_precision(net, anchors, HERE / "demo", INPUT)
    whole = {**facts, "content_sha256": content, "torch_AP": ap[0], "torch_AP50": ap[1]}
    whole["curve"] = thinned(args.curve)
    (HERE / "demo.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(f"AP {ap[0]:.4f}, AP50 {ap[1]:.4f} by PyTorch; {content}")


if __name__ == "__main__":
    main()
