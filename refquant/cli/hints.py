"""What was probably meant by a command line that is wrong: one hint, or none.

The words come from people who know other programs: a converter's output without an option, the
options' names of the public YOLO scripts, a data set beside the model. A hint names the option or
shows the command; it never does what was not asked for. It is found by the first rule below that
has something to say.
"""

import argparse
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


def inverted(table: Mapping[str, str]) -> dict[str, str]:
    """{"b": "a", "c": "a"} of {"a": "b c"}."""
    return {word: meant for meant, words in table.items() for word in words.split()}


VERBS_ELSEWHERE = inverted(
    {
        "detect": "predict infer inference run",
        "evaluate": "val eval test benchmark map",
        "verify": "compare check validate",
        "info": "show inspect summary",
        "fetch": "download get pull",
        "convert": "import load",
        "quantize": "compress ptq",
    }
)
OPTIONS_ELSEWHERE = inverted(
    {
        "--conf": "--conf-thres --confidence --threshold --score",
        "--iou": "--iou-thres --nms-thres",
        "--size": "--img --imgsz --img-size --image-size --input-size",
        "--output": "--save-dir --project",
        "--against": "--original --float --reference --baseline",
        "--data": "--dataset --coco --val",
        "--batch": "--batch-size",
        "--workers": "--jobs --procs",
        "--granularity filter": "--per-channel --per-filter",  # others call a filter a channel
        "--granularity layer": "--per-tensor --per-layer",
        **{f"--bits {bits}": f"--int{bits}" for bits in range(2, 9)},
    }
)
NEEDLESS = inverted(
    {
        "it always runs on the CPU": "--device --gpu --cuda --cpu",
        "the suffix of -o says the format": "--format --onnx --include",
        "files are named without an option, in the order of the usage": "--model --weights"
        " --source --image --images --input --golden",
        "the opset is always 17": "--opset",
    }
)
BESIDE_THE_MODEL = inverted(
    {
        "-o": "convert quantize golden export fetch",
        "--data": "evaluate study",
        "--against": "audit",
    }
)
NAMED_BY = {"-o": "the file to write", "--data": "the data set", "--against": "the float model"}
MODELS = (".h5", ".hdf5", ".pt", ".pth", ".safetensors", ".cfg", ".weights", ".onnx")
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
NO_GOLDEN = re.compile("does not begin as an HDF5 file|one attribute, golden")
CUTOFF = 0.7  # of difflib's ratio: "quantise" has 0.88 and "--granulairty" 0.92


class Mistake(NamedTuple):
    """A command line that could not be read.

    verb       "" where there is none of that name      complaint  argparse's
    words      what follows the verb                    plain      those that stand alone
    surplus    those for which the verb has no place    example    a right line with the verb
    options    the options of every verb
    """

    verb: str
    complaint: str
    words: Sequence[str]
    plain: Sequence[str]
    surplus: Sequence[str]
    example: str
    options: Mapping[str, Sequence[str]]


def hint(mistake: Mistake) -> str:
    """The hint of the first rule that has one, else ""."""
    if not mistake.verb:
        return verb_meant(mistake)
    own = [name for name in mistake.options[mistake.verb] if name.startswith("--")]
    strange = [word.partition("=")[0] for word in mistake.words if is_strange(word, own)]
    if strange:
        return option_meant(strange[0], own, mistake)
    return order_meant(mistake) or place_meant(mistake) or size_meant(mistake)


def verb_meant(mistake: Mistake) -> str:
    """The verb that the first word stands for."""
    verbs = list(mistake.options)
    word = next((word for word in mistake.words if not word.startswith("-")), "")
    if word in ("", "help", "version"):
        return f"write refquant --{word or 'help'}"
    if word == "train":
        return "refquant trains no models"
    if Path(word).suffix:
        return f"a verb comes first, such as refquant info {word if is_model(word) else 'demo'}"
    close = difflib.get_close_matches(word.lower(), verbs, 1, CUTOFF)
    meant = VERBS_ELSEWHERE.get(word.lower(), *close)
    return f"did you mean {meant}?" if meant else f"choose {' | '.join(verbs)}"


def is_strange(word: str, own: Sequence[str]) -> bool:
    """Whether a word is an option with which no name of the verb begins."""
    name = word.partition("=")[0]
    return name.startswith("--") and not any(option.startswith(name) for option in own)


def option_meant(word: str, own: Sequence[str], mistake: Mistake) -> str:
    """What an option that the verb does not have is called here, or whose it is."""
    meant = OPTIONS_ELSEWHERE.get(word, "")
    if meant.partition(" ")[0] in own:
        return f"did you mean {meant}?"
    if word in NEEDLESS:
        return NEEDLESS[word]
    verbs = [verb for verb, names in mistake.options.items() if word in names]
    if verbs:
        return f"{word} is an option of {', '.join(verbs)}"
    close = difflib.get_close_matches(word, own, 1, CUTOFF)
    return f"did you mean {close[0]}?" if close else ""


def order_meant(mistake: Mistake) -> str:
    """The right order where an image or a folder stands where the model belongs."""
    if mistake.verb not in ("detect", "golden", "evaluate", "study") or not mistake.plain:
        return ""
    first, *rest = mistake.plain
    if not (is_image(first) or Path(first).is_dir()):
        return ""
    model = next((word for word in rest if is_model(word)), "demo")
    data = f"--data {first}" if mistake.verb in ("evaluate", "study") else first
    return f"the model comes first: refquant {mistake.verb} {model} {data}"


def place_meant(mistake: Mistake) -> str:
    """The option that a word too many needs before it; an example where a word is missing."""
    option = BESIDE_THE_MODEL.get(mistake.verb, "")
    if mistake.verb == "quantize" and any(not Path(word).suffix for word in mistake.surplus):
        return "each needs its option: --scheme affine --granularity filter --bits 4"
    if mistake.surplus and option and not {option, "--output"} & {*mistake.words}:
        return f"name {NAMED_BY[option]} with {option}: {option} {mistake.surplus[0]}"
    if mistake.surplus or "arguments are required" in mistake.complaint:
        return f"for example {mistake.example}"
    return ""


def size_meant(mistake: Mistake) -> str:
    """How two sides are written, and that --size of export takes every word behind it."""
    _, _, value = mistake.complaint.partition("argument --size: ")
    sides = re.search(r"'(\d+)[x,*](\d+)'", value)
    if sides and mistake.verb == "export":
        return f"write --size {sides[1]} {sides[2]}"
    eaten = re.match(r"invalid \w+ value: '(.*)'", value)
    if eaten and mistake.verb == "export" and is_model(eaten[1]):
        return "the model stands before --size"
    return ""


def is_model(word: str) -> bool:
    """Whether a word is a model's name by its look."""
    return word == "demo" or word.startswith("random:") or Path(word).suffix.lower() in MODELS


def is_image(word: str) -> bool:
    """Whether a word is an image's name by its look."""
    return Path(word).suffix.lower() in IMAGES


def remedy(options: argparse.Namespace, problem: str) -> str:
    """What to add to a line that says what is wrong with a file, else ""."""
    model, data = getattr(options, "model", None) or "", getattr(options, "data", None)
    golden = getattr(options, "golden", None) or getattr(options, "like", None)
    if "does not exist" in problem and problem.startswith(model):
        from refquant.cli.fetch import NAMES

        name = model.removesuffix(".pt")
        return f"; refquant fetch {name} gets {name}.pt" if name in NAMES else ""
    if "not a model" in problem and is_image(model) and options.verb in ("detect", "golden"):
        return "; the model comes first, then the image"
    if "is a directory" in problem and options.verb in ("evaluate", "study"):
        return "; the data set is named with --data"
    if "is not a folder" in problem and data is not None and data.suffix == ".json":
        return f", or --images FOLDER --annotations {data}"
    if golden is not None and problem.startswith(f"{golden}: ") and NO_GOLDEN.search(problem):
        return " (a golden is a file that refquant golden wrote)"
    return ""
