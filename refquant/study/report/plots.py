"""The report's plots, each drawn from results.json alone (drawing/).

    ap_nominal, ap_stored   AP against bits per weight, the Pareto front marked
    losses                  every loss with its interval, sorted
    heat_map_4              granularity x scheme, of each width (heat_map.py)
    sqnr                    SQNR of every layer
    predicted               loss of AP against the predicted error

A scheme has one colour and one marker in all of them; its options are hollow.
"""

from collections.abc import Sequence

from refquant.drawing.frame import Frame, legend, span
from refquant.drawing.svg import Drawing, Line, Mark, Shape, Text
from refquant.quant.scheme_name import SchemeName
from refquant.study.configurations import MEMBERS, PAPER_BITS, PAPER_SCHEMES
from refquant.study.report.heat_map import heat_maps
from refquant.study.wording import Results, Row, number, short, with_interval

WIDTH = 760
STYLES = {
    "affine": ("circle", "blue"),
    "symmetric": ("square", "orange"),
    "pwlq": ("triangle", "green"),
    "pwlq-eq3": ("diamond", "green"),
    "pwlq-code": ("cross", "green"),
    "pwlq-overlap": ("plus", "green"),
    "lloyd-max": ("diamond", "purple"),
    "power-of-two": ("cross", "vermillion"),
}
OTHER = ("plus", "sky")


def plots(results: Results) -> list[Drawing]:
    """Every plot that the results suffice for."""
    rows = [row for row in results["configurations"] if row["scheme"]]
    known = [row for row in rows if row["AP"] is not None]
    drawings = []
    if known:
        base = results["configurations"][0]
        drawings += [
            ap_plot(known, base, "nominal", "ap_nominal", "nominal bits per weight"),
            ap_plot(known, base, "packed", "ap_stored", "really stored bits per weight"),
            losses(known),
            *heat_maps(known),
        ]
    sqnr = sqnr_plot(rows, results["layers"]) if rows else None
    drawings += [sqnr] if sqnr else []
    predicted = [row for row in known if row["predicted_db"] is not None]
    return drawings + ([predicted_plot(predicted)] if predicted else [])


def base_of(scheme: str) -> str:
    """The scheme without option and correction."""
    return SchemeName.parse(scheme).base


def mark(x: float, y: float, row: Row, tip: str) -> Mark:
    """A configuration's marker."""
    kind, colour = STYLES.get(base_of(row["scheme"]), OTHER)
    hollow = row["scheme"] != base_of(row["scheme"])
    return Mark(x, y, kind, colour, 4.8, hollow, tip)


def scheme_legend(rows: Sequence[Row], y: float) -> tuple[list[Shape], float]:
    """The schemes that occur; hollow markers are explained where they do."""
    found = {base_of(row["scheme"]) for row in rows}
    names = [name for name in STYLES if name in found] + sorted(found - set(STYLES))
    entries = [(name, *STYLES.get(name, OTHER), False) for name in names]
    if any(row["scheme"] not in names for row in rows):
        entries.append(("hollow: an option of the scheme", "circle", "quiet", True))
    return legend(entries, 62, y, WIDTH - 20)


def ap_plot(rows: Sequence[Row], base: Row, way: str, name: str, label: str) -> Drawing:
    """AP against bits per weight; the front's whiskers are the 95 % interval of the loss."""
    shapes, below = scheme_legend(rows, 22)
    bits = [row["bits_per_weight"][way] for row in rows]
    most = 100 * max([base["AP"], *(row["AP"] for row in rows)])
    frame = Frame(span(bits), (0.0, 1.06 * most or 1.0), top=below + 14)
    shapes += frame.grid(label, "AP (%)")
    _, y = frame.at(0, 100 * base["AP"])
    shapes.append(Line([(frame.left, y), (frame.right, y)], "quiet", 1.4, "6 4"))
    shapes.append(
        Text(frame.left + 6, y - 6, f"float32: {number(100 * base['AP'])}", 12, "start", "quiet")
    )
    shapes += front_line(frame, rows, way)
    for row in rows:
        x, value = row["bits_per_weight"][way], 100 * row["AP"]
        if row["front"][way]:
            shift = value - row["loss"]["points"]  # the float baseline, in points
            ends = [frame.at(x, shift + row["loss"][end]) for end in ("low", "high")]
            shapes.append(Line(ends, "quiet", 1))
        tip = f"{row['name']}: AP {number(value)} at {number(x, 2)} bits"
        shapes.append(mark(*frame.at(x, value), row, tip))
    shapes += front_names(frame, rows, way, y)
    title = f"AP against {label}; the Pareto front is marked"
    return Drawing(name, title, WIDTH, int(frame.bottom + 50), shapes)


def front(rows: Sequence[Row], way: str) -> list[Row]:
    """The Pareto front, smallest first."""
    return sorted((r for r in rows if r["front"][way]), key=lambda r: r["bits_per_weight"][way])


def front_line(frame: Frame, rows: Sequence[Row], way: str) -> list[Shape]:
    """The front as steps: what so many bits can buy."""
    points: list[tuple[float, float]] = []
    for row in front(rows, way):
        x, y = frame.at(row["bits_per_weight"][way], 100 * row["AP"])
        points += [(x, points[-1][1] if points else frame.bottom), (x, y)]
    points.append((frame.right, points[-1][1]))
    return [Line(points, "ink", 1.6)]


def front_names(frame: Frame, rows: Sequence[Row], way: str, baseline: float) -> list[Shape]:
    """Names to the upper left of the front's members, where nothing else is, if they fit.

    baseline    the y of float32's line, whose own name stands at its left end
    """
    shapes: list[Shape] = []
    taken = [(frame.left, frame.left + 90, baseline - 6)]
    for row in reversed(front(rows, way)):
        x, y = frame.at(row["bits_per_weight"][way], 100 * row["AP"])
        text = short(row)
        left, right, y = x - 8 - 6.4 * len(text), x - 8, y - 8
        free = all(abs(y - other) > 14 or right < a or left > b for a, b, other in taken)
        if free and left > frame.left:
            taken.append((left, right, y))
            shapes.append(Text(right, y, text, 11.5, "end", "ink", halo=True))
    return shapes


def losses(rows: Sequence[Row]) -> Drawing:
    """A line per configuration: its loss and the 95 % interval, the smallest loss first."""
    rows = sorted(rows, key=lambda row: -row["loss"]["points"])
    ends = [row["loss"][end] for row in rows for end in ("low", "high")]
    frame = Frame(span([*ends, 0.0]), (0.0, 1.0), 300, 12, 440, 20.0 * len(rows))
    shapes = frame.grid_x("difference in AP to float32 (points), with 95% interval")
    zero, _ = frame.at(0, 0)
    shapes.append(Line([(zero, frame.top), (zero, frame.bottom)], "ink", 1.2))
    for k, row in enumerate(rows):
        y = frame.top + 20 * k + 10
        loss = row["loss"]
        (low, _), (high, _), (x, _) = (frame.at(loss[e], 0) for e in ("low", "high", "points"))
        shapes.append(Text(frame.left - 12, y + 4, short(row), 12, "end"))
        shapes.append(Line([(low, y), (high, y)], "quiet", 1.6))
        shapes.append(mark(x, y, row, f"{row['name']}: {with_interval(loss)}"))
    title = "Difference in AP to float32 of every configuration"
    return Drawing("losses", title, WIDTH, int(frame.bottom + 50), shapes)


def sqnr_plot(rows: Sequence[Row], layers: Sequence[Row]) -> Drawing | None:
    """SQNR of every layer for the paper's schemes, filter level and combined, at one width."""
    widths = {row["bits"] for row in rows}
    bits = PAPER_BITS if PAPER_BITS in widths else min(widths)
    wanted = [
        (row, dash)
        for row in rows
        for dash in [{"filter": "", MEMBERS: "5 3"}.get(row["granularity"])]
        if row["scheme"] in PAPER_SCHEMES and row["bits"] == bits and dash is not None
    ]
    values = [v for row, _ in wanted for v in row["sqnr_db"] if v is not None]
    if not values or len(layers) < 2:
        return None
    entries = [(f"{r['scheme']} {'combination' if d else 'filter'}", *STYLES[r["scheme"]], bool(d))
               for r, d in wanted]  # fmt: skip
    shapes, below = legend(entries, 62, 22, WIDTH - 20)
    frame = Frame((0, len(layers) + 1), span(values), top=below + 14)
    shapes += frame.grid("convolution, in order of execution", f"SQNR at {bits} bits (dB)")
    for row, dash in wanted:
        kind, colour = STYLES[row["scheme"]]
        points = [
            (frame.at(i, v), layer["name"], v)
            for i, (v, layer) in enumerate(zip(row["sqnr_db"], layers, strict=True), 1)
            if v is not None
        ]
        shapes.append(Line([point for point, _, _ in points], colour, 1.3, dash))
        for (x, y), layer_name, v in points:
            tip = f"{layer_name}, {short(row)}: {number(v)} dB"
            shapes.append(Mark(x, y, kind, colour, 2.2, bool(dash), tip))
    return Drawing("sqnr", "SQNR of every layer", WIDTH, int(frame.bottom + 50), shapes)


def predicted_plot(rows: Sequence[Row]) -> Drawing:
    """Loss against predicted error: does the error of the weights tell what AP will do?"""
    shapes, below = scheme_legend(rows, 22)
    frame = Frame(
        span(row["predicted_db"] for row in rows),
        span([0.0, *(-row["loss"][end] for row in rows for end in ("low", "high"))]),
        top=below + 14,
    )
    shapes += frame.grid(
        "predicted error (dB): mean relative squared error of the filters", "loss (points of AP)"
    )
    for row in rows:  # before all markers, so that no interval strikes one through
        ends = [frame.at(row["predicted_db"], -row["loss"][end]) for end in ("low", "high")]
        shapes.append(Line(ends, "quiet", 1))
    for row in rows:
        x, y = frame.at(row["predicted_db"], -row["loss"]["points"])
        tip = f"{row['name']}: {number(row['predicted_db'])} dB, {with_interval(row['loss'])}"
        shapes.append(mark(x, y, row, tip))
    title = "Loss of AP against predicted error"
    return Drawing("predicted", title, WIDTH, int(frame.bottom + 50), shapes)
