"""Colours and sizes of all charts, and their two outputs: SVG inside a page, and files."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from secateur.files.atomic_write import atomic_write
from secateur.report.charts.svg import clean


class Colour(NamedTuple):
    """One colour on a light and on a dark background, as #rrggbb."""

    light: str
    dark: str


# Light values are all different: figures are drawn with them, and in the SVG they identify the
# colour. The series can be told apart with each of the three forms of colour blindness.
COLOURS = {
    "ink": Colour("#1c2430", "#e6e9ee"),
    "muted": Colour("#566173", "#a2adbd"),
    "grid": Colour("#dfe3e9", "#2b323c"),
    "background": Colour("#ffffff", "#14171c"),
    "dense": Colour("#7a869a", "#8592a6"),
    "slim": Colour("#1f5fc4", "#6aa5ff"),
    "good": Colour("#16805c", "#3ecf9b"),
    "bad": Colour("#c8451b", "#ff8a5c"),
    "accent": Colour("#9a4fb0", "#d79be6"),
    "series-1": Colour("#0887e6", "#5a7ded"),
    "series-2": Colour("#e06204", "#efbc5a"),
    "series-3": Colour("#05584c", "#40dda6"),
    "series-4": Colour("#573a87", "#c1b3fa"),
    "series-5": Colour("#c676a8", "#d7439d"),
    "series-6": Colour("#6a4208", "#8a703a"),
}
LIGHT = {name: colour.light for name, colour in COLOURS.items()}
SERIES = [LIGHT[f"series-{n}"] for n in range(1, 7)]
NAMES = {light: name for name, light in LIGHT.items()}

_VARIABLE = re.compile(r"var\(--chart-([\w-]+)\)")

# Points; an SVG's point is 4/3 of a page's pixel.
TICKS, LABELS, TITLES = 7.0, 7.5, 8.0
# Inches.
PANEL_WIDTH = 3.1

# Based on matplotlib's defaults, not on the user's settings.
STYLE: dict[Any, Any] = {
    **{name: v for name, v in mpl.rcParamsDefault.items() if not name.startswith("backend")},
    "axes.axisbelow": True,
    "axes.edgecolor": LIGHT["grid"],
    "axes.facecolor": "none",
    "axes.labelcolor": LIGHT["muted"],
    "axes.labelsize": LABELS,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": LIGHT["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": TITLES,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "font.size": LABELS,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.6,
    "legend.fontsize": TICKS,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.labelcolor": LIGHT["ink"],
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "svg.fonttype": "none",  # text that can be searched
    "text.color": LIGHT["ink"],
    "text.parse_math": False,  # names may contain $
    "xtick.color": LIGHT["grid"],
    "xtick.labelcolor": LIGHT["muted"],
    "xtick.labelsize": TICKS,
    "ytick.color": LIGHT["grid"],
    "ytick.labelcolor": LIGHT["muted"],
    "ytick.labelsize": TICKS,
}

# Decorates every function that draws a chart.
themed = mpl.rc_context(STYLE)


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **subplots: Any
) -> tuple[Figure, list[Axes]]:
    """Make an empty figure in the theme, with its axes row by row.

    Args:
        width: inches.
        height: inches.
        rows: of axes.
        columns: of axes.
        subplots: further arguments of ``Figure.subplots``.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **subplots)
        return figure, list(axes.flat)


def new_panel(height: float, *, legend: bool = True) -> tuple[Figure, Axes]:
    """Make a small empty figure in the theme, one of many side by side.

    Margins are fixed, so that axes are aligned; computing them would take as long as drawing.

    Args:
        height: inches.
        legend: whether there is one below the axes.
    """
    left, right, bottom, top = 0.6, 0.22, 0.7 if legend else 0.44, 0.27
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PANEL_WIDTH, height))
        axes = figure.add_axes(
            (
                left / PANEL_WIDTH,
                bottom / height,
                1 - (left + right) / PANEL_WIDTH,
                1 - (bottom + top) / height,
            )
        )
        return figure, axes


def inline_svg(figure: Figure, key: str, title: str) -> str:
    """Make the SVG element of a chart, for an HTML page with the rules of ``css()``.

    Args:
        figure: a chart.
        key: unique within the page; letters, digits, ``.``, ``_`` and ``-``.
        title: what the chart shows, for screen readers.
    """
    root = _svg(figure, key)
    for element in root.iter():
        if style := element.get("style"):
            element.set("style", re.sub("#[0-9a-f]{6}", _variable, style))
    title = "".join(char for char in title if char.isprintable())
    width = round(float(root.attrib["viewBox"].split()[2]) * 96 / 72)
    root.set("width", "100%")
    root.set("style", f"max-width:{width}px;font-family:inherit;{root.attrib['style']}")
    root.set("role", "img")
    root.set("aria-label", title)
    head = ElementTree.Element("title")
    head.text = title
    root.insert(0, head)
    return ElementTree.tostring(root, encoding="unicode")


def css() -> str:
    """The CSS rules of the charts' colours: light, dark, and light for printing."""
    light, dark = (
        ":root{" + "".join(f"--chart-{n}:{colour[i]};" for n, colour in COLOURS.items()) + "}"
        for i in (0, 1)
    )
    return f"{light}\n@media (prefers-color-scheme: dark){{{dark}}}\n@media print{{{light}}}\n"


def write_figure(figure: Figure, svg: str, folder: Path, key: str) -> None:
    """Write ``KEY.svg`` and ``KEY.png``, in light colours on white.

    Args:
        figure: a chart.
        svg: from ``inline_svg``; drawing it a second time would take as long.
        folder: created if it is missing.
        key: letters, digits, ``.``, ``_`` and ``-``.

    Raises:
        RunError: the folder cannot be written to.
    """
    font = ", ".join(mpl.rcParamsDefault["font.sans-serif"])
    # Only in styles: names may contain anything.
    light = re.sub(r'style="[^"]*"', lambda style: _VARIABLE.sub(_light, style[0]), svg)
    light = light.replace("font-family:inherit", f"font-family:{font}", 1)
    paper = f'<rect width="100%" height="100%" style="fill:{LIGHT["background"]}"/>'
    light = light.replace("</title>", f"</title>{paper}", 1)
    with atomic_write(folder / f"{key}.svg") as draft:
        draft.write_text(light + "\n", "utf-8")
    with atomic_write(folder / f"{key}.png") as draft, _drawing(key):
        figure.savefig(
            draft, format="png", dpi=150, facecolor=LIGHT["background"], metadata={"Software": None}
        )


@contextmanager
def _drawing(key: str) -> Iterator[None]:
    with mpl.rc_context({**STYLE, "svg.hashsalt": key}), warnings.catch_warnings():
        # Names may be in any script; the page has fonts for those that matplotlib has not.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _settle(figure: Figure) -> None:
    """Compute the layout once for all outputs; the second pass includes labels of the first."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.execute(figure)
        engine.execute(figure)
        figure.set_layout_engine("none")


def _svg(figure: Figure, key: str) -> ElementTree.Element:
    if not re.fullmatch(r"[A-Za-z][\w.-]*", key, re.ASCII):
        raise ValueError(f"{key!r} cannot be a key of a chart")
    source = io.StringIO()
    with _drawing(key):
        _settle(figure)
        figure.savefig(source, format="svg", facecolor="none", metadata={"Date": None})
    return clean(source.getvalue(), key)


def _light(match: re.Match[str]) -> str:
    return LIGHT.get(match[1], match[0])


def _variable(match: re.Match[str]) -> str:
    return f"var(--chart-{NAMES[match.group()]})"
