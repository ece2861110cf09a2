"""The report's tables: claims, configurations, pairs, numbers of images, and its method."""

from refquant.study.claims import FAILS, HOLDS, NOT, REPRODUCED
from refquant.study.report.document import Block, Bullets, Cell, Paragraph, Table
from refquant.study.wording import (
    NONE,
    Results,
    Row,
    interval,
    number,
    percent,
    places_of,
    plural,
    short,
    with_interval,
)

TONES = {REPRODUCED: "good", HOLDS: "good", "better": "good"}
TONES |= {NOT: "bad", FAILS: "bad", "worse": "bad"}
WAYS = ("nominal", "packed", "entropy", "file")
WIDTHS = (4.0, 2.0, 1.0, 0.5)  # points of AP


def tone(verdict: str) -> str:
    return TONES.get(verdict, "open")


def claims_table(results: Results) -> list[Block]:
    """Each published figure, ours, the verdict, the reason."""
    rows = [
        [
            Cell(claim["claim"], note=claim["reason"]),
            Cell(claim["published"]),
            Cell("\n".join(claim["here"])),
            Cell(claim["verdict"], tone=tone(claim["verdict"])),
        ]
        for claim in results["claims"]
    ]
    return [
        Paragraph(
            "The paper is Baghbanbashi, Raji, Ghavami: Quantizing YOLOv7: A Comprehensive Study,"
            " CSICC 2023 (arXiv 2407.04943); its figures stand beside those of this run. Orders"
            " (which of two loses less) are not printed in it; they follow from its figures."
        ),
        Table(("claim", "published", "here", "verdict"), rows, "roomy"),
    ]


def configurations_table(results: Results) -> list[Block]:
    """Every configuration: AP, loss, sizes."""
    header = [
        "configuration", "AP %", "loss", "95% interval", "against float32", "stored bits",
        "nominal bits", "AP50 %", "loss relative", *(f"{way} bytes" for way in WAYS),
        *(f"{way} x FP16" for way in WAYS),
    ]  # fmt: skip
    rows = [configuration_row(row) for row in results["configurations"]]
    return [
        Paragraph(
            "The loss is in points of AP against float32, with the 95% interval of a paired"
            " bootstrap over images. Bits per weight are those of the convolutions with their"
            " parameters; bytes and savings are of the whole model."
        ),
        Table(header, rows, "wide"),
    ]


def configuration_row(row: Row) -> list[Cell]:
    """One line of the table."""
    bits, ratios = row["bits_per_weight"], row["ratios"]
    loss, span, verdict, relative = loss_cells(row["loss"] if row["scheme"] else None)
    return [
        Cell(short(row)),
        share(row["AP"]),
        *(loss, span, verdict),
        *(Cell(number(bits[way], 3), bits[way]) for way in ("packed", "nominal")),
        share(row["AP50"]),
        relative,
        *(Cell(number(row["bytes"][way], 0), row["bytes"][way]) for way in WAYS),
        *(Cell(number(ratios[way]["fp16"], 3), ratios[way]["fp16"]) for way in WAYS),
    ]


def loss_cells(loss: Row | None) -> tuple[Cell, Cell, Cell, Cell]:
    """Loss, interval, verdict, relative loss; losses are positive."""
    if loss is None:
        return (Cell(NONE),) * 4
    relative = None if loss["percent"] is None else -loss["percent"]
    return (
        Cell(number(-loss["points"], 2), -loss["points"]),
        Cell(interval(-loss["high"], -loss["low"], sign=False)),
        Cell(loss["verdict"], tone=tone(loss["verdict"])),
        Cell(percent(relative), relative),
    )


def share(value: float | None) -> Cell:
    """An AP in percent."""
    return Cell(number(None if value is None else 100 * value, 2), value)


def comparisons_table(results: Results) -> list[Block]:
    """The pairs of results.py."""
    names = {row["name"]: short(row) for row in results["configurations"]}
    rows = [
        [
            Cell(names[pair["a"]]),
            Cell(names[pair["b"]]),
            Cell(with_interval(pair, places_of(pair)), pair["points"]),
            Cell(pair["verdict"], tone=tone(pair["verdict"])),
        ]
        for pair in results["comparisons"]
    ]
    intro = (
        "Each line has the difference in AP of the first against the second, in points, on the"
        " same images, with its 95% interval. Only an interval that does not hold 0 makes one of"
        " them better."
    )
    return [
        Paragraph(intro),
        Table(("configuration", "against", "points of AP", "verdict"), rows, "roomy"),
    ]


def images_table(results: Results) -> list[Block]:
    """How many images a difference to float32 needs, for intervals of some widths."""
    rows = []
    for row in results["configurations"]:
        if not row["scheme"] or row["loss"] is None:
            continue
        loss = row["loss"]
        one = loss["images_for_one_point"]
        cells = [
            Cell(short(row)),
            Cell(number(loss["high"] - loss["low"], 2), loss["high"] - loss["low"]),
        ]
        needed = [max(1, round(one / width**2)) for width in WIDTHS]
        rows.append([*cells, *(Cell(f"{count:,}", count) for count in needed)])
    intro = (
        f"The width of an interval falls with the root of the number of images. With"
        f" {plural(results['data']['images'], 'image')} like these, the intervals are as wide as"
        " the second column says; each further column says about how many images would make them"
        " as wide as its head says."
    )
    header = ("configuration", "width here", *(f"{number(w, 1)} points" for w in WIDTHS))
    return [Paragraph(intro), Table(header, rows, "wide")]


def method(results: Results) -> list[Block]:
    """Definitions, protocol, seeds and hashes."""
    model, data = results["model"], results["data"]
    protocol, bootstrap = results["protocol"], results["bootstrap"]
    return [
        Bullets(
            [
                "Weights of all convolutions are quantized after folding; activations, biases and"
                " everything else stay float32. Codes are chosen for the parameters as stored.",
                "affine includes 0 in its range (affine:minmax does not); pwlq is the paper's form"
                " with Gaussian breakpoints. Rounding is half to even.",
                "Nominal bytes are the bits of the weights, 4 bytes per parameter and group, and"
                " the unfolded rest in FP16, against all of the unfolded network in FP16. Packed"
                " bytes are those that are stored, entropy bytes those of a zero-order code with"
                " its histogram, file bytes those of the HDF5 file on disk.",
                f"Protocol {protocol['name']} has {protocol['size']} px, confidence above"
                f" {protocol['conf']}, NMS at IoU {protocol['iou']} ({protocol['nms']}) and at"
                f" most {protocol['most']} detections per image; AP follows pycocotools' rules.",
                "Intervals are the 2.5% and 97.5% quantiles over"
                f" {plural(bootstrap['resamples'], 'resample')} of the images with seed"
                f" {bootstrap['seed']}, which are the same for every configuration.",
                f"refquant {results['refquant']} with arithmetic version {results['arithmetic']}"
                " gives the same bits on every machine.",
                f"Model: {model['name']}, arrays {model['arrays_sha256']}"
                + (f", file {model['sha256']}." if model["sha256"] else "."),
                f"Data: {data['name']}, {plural(data['images'], 'image')},"
                f" {data['true_boxes']:,} boxes in {data['categories']} categories,"
                f" {data['sha256']}.",
                *([f"Licence of the weights: {model['licence']}"] if model["licence"] else []),
            ]
        )
    ]
