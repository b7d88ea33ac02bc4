"""Charts of hand-set numbers: what is drawn and written, and that a page can contain it."""

import ast
import random
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, StepPatch
from matplotlib.ticker import FixedLocator

from secateur.errors import RunError
from secateur.report import charts
from secateur.report.charts.accuracy import accuracy_by_step
from secateur.report.charts.class_accuracy import class_accuracy
from secateur.report.charts.comparison import Curve, comparison
from secateur.report.charts.confusion import confusion
from secateur.report.charts.filters import filters
from secateur.report.charts.headline import Cost, headline
from secateur.report.charts.nonzeros import nonzeros
from secateur.report.charts.number_text import compact, log_ticks, short
from secateur.report.charts.pareto import Point, pareto, pareto_front
from secateur.report.charts.precision_recall import precision_recall
from secateur.report.charts.scales import Scale, detection_scales
from secateur.report.charts.selection import region, selection
from secateur.report.charts.sweep import Tried, sweep
from secateur.report.charts.theme import COLOURS, LIGHT, SERIES, css, inline_svg, write_figure
from secateur.report.charts.threshold import threshold_search
from secateur.report.charts.training import training_curve
from secateur.report.charts.weights import weight_histogram

HOSTILE = [
    "<script>alert(1)</script>",
    "$x$",
    "a_b",
    '"&amp;',
    "_hidden",
    "two\nlines",
    "\x00",
    "%s",
]

# A chart, and its number of marks.
CHARTS: dict[str, tuple[Callable[[], Figure], int]] = {
    "headline": (
        lambda: headline(
            {
                "parameters": Cost(1553232, 183119, "1.55 M", "0.18 M", "fewer"),
                "latency": Cost(14.0, 5.0, "14 ms", "5 ms", "faster"),
            },
            "AP50_area",
            92.3,
            93.4,
            "test",
        ),
        6,
    ),
    "filters": (lambda: filters(["a", "b"], [("dense", [128, 8]), ("slim", [30, 8])]), 3),
    "nonzeros": (lambda: nonzeros(["a", "b"], [("dense", [100, 20]), ("slim", [10, None])]), 2),
    "weights": (lambda: weight_histogram("a", [-1, 0, 1], [5, 9], [0, 14], 0.5), 2),
    "threshold": (
        lambda: threshold_search([(0.1, 0.9, 60.0), (0.01, 0.5, 80.0)], 0.01, 81.0, 79.0, "top1"),
        2,
    ),
    "selection": (
        lambda: selection("a", [0.1, 0.9, 1.0], [0.2, 1.0, 0.9], [True, False, False], None),
        2,
    ),
    "accuracy": (lambda: accuracy_by_step([("dense", 92.3, 0), ("remove", 6.4, 1)], "top1"), 1),
    "training": (lambda: training_curve("dense", [13.4, 3.0, 0.9], 1500), 1),
    "precision_recall": (
        lambda: precision_recall("stop", ([0, 1], [1, 0.5], 92.34), ([0, 1], [1, 0.6], 93.44)),
        2,
    ),
    "class_accuracy": (
        lambda: class_accuracy(["a", "b"], [90.0, 80.0], [91.0, None], "AP50_area"),
        2,
    ),
    "comparison": (
        lambda: comparison(
            [
                Curve("ours", [0.15, 0.5], [80.0, 92.0], [1.5, None]),
                Curve("l1", [0.15, 0.5], [60.0, 90.0], [None, 0.5]),
            ],
            93.0,
            "top1 on test",
        ),
        2,
    ),
    "scales": (
        lambda: detection_scales(
            [
                Scale(1, 2695539, (27.0, 1.5), (25.6, 0.5)),
                Scale(6, 3926774.5, (77.2, None), (75.1, None)),
            ],
            "AP50_voc07 on test",
        ),
        2,
    ),
    "confusion": (lambda: confusion([[3, 1], [0, 8]], ["a", "b"]), 3),
    "sweep": (
        lambda: sweep(
            [Tried("0", 88.0, [2e5, 3e6], True), Tried("1", 70.0, [4e5, 2e6], False)],
            (90.0, [1e6, 9e6]),
            ["parameters", "MACs"],
            "top1 on validation",
        ),
        6,
    ),
    "pareto": (
        lambda: pareto([("r", "dense", 1e6, 90.0), ("r", "slim", 1e5, 91.0)], "parameters", "top1"),
        2,
    ),
}


def drawn(figure: Figure, key: str = "key", title: str = "title") -> ElementTree.Element:
    """The chart as a browser parses it."""
    return ElementTree.fromstring(inline_svg(figure, key, title))  # noqa: S314 # our own


def series(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """x and y of each marked line of an axes, by its label."""
    return {
        str(line.get_label()): ([*map(float, line.get_xdata())], [*map(float, line.get_ydata())])
        for line in axes.lines
        if line.get_gid() == "mark"
    }


def texts(figure: Figure) -> list[str]:
    return [e.text or "" for e in drawn(figure).iter() if e.tag.endswith("}text")]


def markers(figure: Figure) -> list[int]:
    """Number of markers of each mark."""
    marks = [e for e in drawn(figure).iter() if e.get("class") == "mark"]
    return [sum(e.tag.endswith("}use") for e in mark.iter()) for mark in marks]


def luminance(colour: str) -> float:
    """WCAG 2, relative luminance."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", sorted(COLOURS.keys() - {"background", "grid"}))
def test_colours_stand_out(name: str, side: int) -> None:
    least = 4.5 if name in ("ink", "muted") else 3.0
    assert contrast(COLOURS[name][side], COLOURS["background"][side]) >= least


def test_slim_and_bad_can_be_read_as_text() -> None:
    for name in ("slim", "bad", "good"):
        assert min(contrast(COLOURS[name][i], COLOURS["background"][i]) for i in (0, 1)) >= 4.5


def test_backgrounds() -> None:
    assert COLOURS["background"] == ("#ffffff", "#14171c")


def test_light_colours_name_themselves() -> None:
    assert len({colour.light for colour in COLOURS.values()}) == len(COLOURS)


def test_counts_are_read_on_the_deepest_cell_of_a_confusion_matrix() -> None:
    for side in (0, 1):
        ink, slim, background = (COLOURS[name][side] for name in ("ink", "slim", "background"))
        mixed = [
            round(0.55 * int(slim[i : i + 2], 16) + 0.45 * int(background[i : i + 2], 16))
            for i in (1, 3, 5)
        ]
        assert contrast(ink, "#{:02x}{:02x}{:02x}".format(*mixed)) >= 4.5


def test_css_has_each_colour_thrice() -> None:
    rules = css()
    light, dark, paper = re.findall(r":root\{(.*?)\}", rules)
    assert light == paper
    assert "--chart-series-6:" in light
    assert "--chart-slim:#1f5fc4;" in light
    assert "--chart-slim:#6aa5ff;" in dark
    assert rules.index("prefers-color-scheme: dark") < rules.index("@media print")


@pytest.mark.parametrize("name", CHARTS)
def test_marks(name: str) -> None:
    draw, marks = CHARTS[name]
    svg = inline_svg(draw(), name, "title")
    assert svg.count('class="mark"') == marks


@pytest.mark.parametrize("name", CHARTS)
def test_same_numbers_same_file(name: str) -> None:
    draw, _ = CHARTS[name]
    figure = draw()
    first = inline_svg(figure, name, "title")
    assert inline_svg(draw(), name, "title") == first
    assert inline_svg(figure, name, "title") == first


@pytest.mark.parametrize("name", CHARTS)
def test_svg_is_small_themed_and_alone(name: str) -> None:
    svg = inline_svg(CHARTS[name][0](), name, "two < three")
    assert svg.startswith('<svg xmlns="http://www.w3.org/2000/svg" ')
    assert svg.count("http") == 1
    for left_out in ("<?xml", "<!DOCTYPE", "<metadata", "<style", "xlink", "DejaVu", 'pt"'):
        assert left_out not in svg
    assert not re.search(r"(fill|stroke):\s*#", svg)
    assert not re.search(r"\d\.\d{3}", svg)
    assert len(svg) < 15_000
    root = ElementTree.fromstring(svg)  # noqa: S314 # our own
    assert root.get("role") == "img"
    assert root.get("aria-label") == root[0].text == "two < three"
    assert root.get("width") == "100%"
    assert "height" not in root.attrib
    width = float(root.attrib["viewBox"].split()[2])
    assert f"max-width:{round(width / 72 * 96)}px" in root.attrib["style"]


def test_many_charts_in_one_document() -> None:
    page = "".join(inline_svg(draw(), name, "title") for name, (draw, _) in CHARTS.items())
    page += inline_svg(CHARTS["pareto"][0](), "pareto-2", "title")
    ids = re.findall(r' id="([^"]*)"', page)
    referred = re.findall(r'href="#([^"]*)"', page) + re.findall(r"url\(#([^)]*)\)", page)
    assert len(ids) == len(set(ids))
    assert set(ids) == set(referred)


@pytest.mark.parametrize("key", ["", "a b", '"', "1", "é", "../a"])
def test_keys_that_no_id_can_have(key: str) -> None:
    with pytest.raises(ValueError, match="cannot be a key"):
        inline_svg(Figure(), key, "title")


def test_names_are_texts_whatever_they_hold() -> None:
    shown = ["<script>alert(1)</scrip…", "$x$", "a_b", '"&amp;', "_hidden", "two lines", " ", "%s"]
    ones = [1] * len(HOSTILE)
    for figure in (
        filters(HOSTILE, [(name, ones) for name in HOSTILE]),
        nonzeros(HOSTILE, [(name, ones) for name in HOSTILE]),
        class_accuracy(HOSTILE, [50.0] * len(HOSTILE), [60.0] * len(HOSTILE), "top1"),
        confusion(np.eye(len(HOSTILE), dtype=int), HOSTILE),
        accuracy_by_step([(name, 50.0, 1) for name in HOSTILE], "top1"),
        pareto([(name, "slim", n + 1.0, 50.0) for n, name in enumerate(HOSTILE)], "x", "top1"),
    ):
        written = texts(figure)
        assert {name for name in shown if name.strip()} <= set(written)
        assert "<script" not in inline_svg(figure, "key", HOSTILE[0])
    for name, text in zip(HOSTILE, shown, strict=True):
        one_name = [
            selection(name, [0.5], [0.5], [True], None),
            training_curve(name, [1.0], 10),
            precision_recall(name, None, None),
            weight_histogram(name, [0, 1], [1], [1], None),
            threshold_search([(1.0, 0.5, 50.0)], 1.0, 60.0, 40.0, name),
        ]
        for figure in one_name[:4]:
            assert text in texts(figure) or not text.strip()


def test_names_in_other_scripts() -> None:
    assert "止まれ" in texts(class_accuracy(["止まれ"], [50.0], [60.0], "top1"))


def test_short() -> None:
    assert short("a" * 24) == "a" * 24
    assert short("a" * 25) == "a" * 23 + "…"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.0073734, "0.00737"),
        (2e-5, "2e-05"),
        (128, "128"),
        (1553232, "1.55 M"),
        (15429621760, "15.4 G"),
        (1000, "1 k"),
        (999.7, "1 k"),
        (999_600, "1 M"),
        (1_437_022, "1.44 M"),
        (12.34, "12.3"),
    ],
)
def test_compact(number: float, text: str) -> None:
    assert compact(number) == text


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1, 1000, [1, 10, 100, 1000]),
        (0.5, 20, [0.5, 1, 2, 5, 10, 20]),
        (0.9, 2.2, [1, 1.5, 2]),
        (6.5, 8.5, [6.5, 7, 7.5, 8, 8.5]),
        (1, 1e12, [1, 1e2, 1e4, 1e6, 1e8, 1e10, 1e12]),
    ],
)
def test_log_ticks(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_headline_draws_slim_as_a_share_of_dense() -> None:
    bars, points = CHARTS["headline"][0]().axes
    shares = {(bar.get_y(), to_hex(bar.get_facecolor())): bar.get_width() for bar in bars.patches}
    assert shares == {
        (0, LIGHT["dense"]): 1.0,
        (0, LIGHT["slim"]): pytest.approx(183119 / 1553232),
        (1, LIGHT["dense"]): 1.0,
        (1, LIGHT["slim"]): pytest.approx(5 / 14),
    }
    accuracies = {
        to_hex(line.get_color()): float(line.get_xdata()[0])
        for line in points.lines
        if line.get_gid() == "mark"
    }
    assert accuracies == {LIGHT["dense"]: 92.3, LIGHT["slim"]: 93.4}
    places = {text.get_text(): text.xy[0] for text in points.texts if hasattr(text, "xy")}
    assert places == {"dense 92.3 %": 92.3, "slim 93.4 %": 93.4}


def test_a_cost_that_grew_is_a_bar_of_its_own_colour() -> None:
    (bars, _) = headline({"x": Cost(10, 14, "a", "b", "faster")}, "top1", 1, 1, "test").axes
    assert [(to_hex(bar.get_facecolor()), bar.get_width()) for bar in bars.patches] == [
        (LIGHT["dense"], 1.0),
        (LIGHT["bad"], pytest.approx(1.4)),
    ]


def test_headline_says_how_many_times() -> None:
    written = texts(CHARTS["headline"][0]())
    for text in (
        "8.5× fewer",
        "1.55 M → 0.18 M",
        "2.8× faster",
        "dense 92.3 %",
        "slim 93.4 %",
        "AP50_area, % (test)",
    ):
        assert text in written


@pytest.mark.parametrize(
    ("dense", "slim", "better", "text"),
    [
        (10, 14, "faster", "1.4× slower"),
        (10, 10, "fewer", "the same"),
        (5, 0.02, "smaller", "250× smaller"),
    ],
)
def test_headline_of_other_ratios(dense: float, slim: float, better: str, text: str) -> None:
    costs = {"cost": Cost(dense, slim, "a", "b", better)}
    assert text in texts(headline(costs, "top1", 100.0, 100.0, "test"))


def test_filters_before_and_after() -> None:
    written = texts(filters(["conv1", "conv2"], [("dense", [128, 8]), ("slim", [30, 8])]))
    assert "128 → 30" in written
    assert "8" in written
    assert written.index("conv1") < written.index("conv2")


def test_filters_bars_are_as_long_as_what_they_count() -> None:
    figure = filters(["a", "b"], [("dense", [128, 64]), ("1", [30, 64]), ("2", [30, 7])])
    bars = [
        (to_hex(bar.get_facecolor()), bar.get_y() + bar.get_height() / 2, bar.get_width())
        for bar in figure.axes[0].patches
    ]
    dense, first, second = LIGHT["dense"], SERIES[0], SERIES[1]
    # A phase that did not change a layer has no bar there.
    assert bars == [(dense, 0, 128), (dense, 1, 64), (first, 0, 30), (second, 1, 7)]
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    colours = [to_hex(patch.get_facecolor()) for patch in legend.get_patches()]
    assert dict(zip(names, colours, strict=True)) == {"dense": dense, "1": first, "2": second}


def test_nonzeros_leave_gaps_and_show_zero() -> None:
    figure = nonzeros(["a", "b", "c"], [("dense", [1000, 100, 10]), ("slim", [None, 0, 5])])
    assert markers(figure) == [3, 2]
    assert "0" in texts(figure)
    dense, slim = figure.axes[0].lines
    assert (to_hex(dense.get_color()), list(dense.get_ydata())) == (LIGHT["dense"], [1000, 100, 10])
    assert to_hex(slim.get_color()) == LIGHT["slim"]
    assert np.isnan(slim.get_ydata()[0])
    assert list(slim.get_ydata()[1:]) == [0.5, 5]  # zero is drawn below one
    (legend,) = figure.legends
    colours = [to_hex(line.get_color()) for line in legend.get_lines()]
    assert colours == [LIGHT["dense"], LIGHT["slim"]]
    assert [text.get_text() for text in legend.get_texts()] == ["dense", "slim"]
    assert "0" not in texts(nonzeros(["a"], [("dense", [10])]))


def test_weights_before_are_filled_and_weights_after_a_line() -> None:
    (axes,) = weight_histogram("a", [-1, 0, 1], [5, 9], [0, 14], None).axes
    steps = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    before, after = sorted(steps, key=lambda patch: not patch.get_fill())
    assert before.get_fill()
    assert not after.get_fill()
    assert (before.get_label(), list(before.get_data().values)) == ("before", [5, 9])
    assert (after.get_label(), list(after.get_data().values)) == ("after", [0.1, 14])
    assert to_hex(before.get_facecolor()) == LIGHT["dense"]
    assert to_hex(after.get_edgecolor()) == LIGHT["slim"]


def test_weights_with_and_without_threshold() -> None:
    assert "±0.5" in texts(weight_histogram("a", [-1, 0, 1], [5, 9], [0, 14], 0.5))
    without = weight_histogram("a", [-1, 0, 1], [5, 9], [0, 14], None)
    assert not any("±" in text for text in texts(without))
    lines = weight_histogram("a", [-1, 0, 1], [5, 9], [0, 14], 0.5).axes[0].lines
    assert [line.get_xdata()[0] for line in lines] == [-0.5, 0.5]


def test_threshold_labels_each_trial() -> None:
    written = texts(CHARTS["threshold"][0]())
    assert {"90.0 %", "50.0 %", "chosen"} <= set(written)
    (axes,) = CHARTS["threshold"][0]().axes
    shares = {text.get_text(): text.xy for text in axes.texts}
    assert shares == {"90.0 %": (0.1, 60.0), "50.0 %": (0.01, 80.0)}
    assert series(axes)["chosen"] == ([0.01], [80.0])
    levels = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert levels["sparsified network"] == [81.0, 81.0]
    assert levels["tolerance"] == [79.0, 79.0]


@pytest.mark.parametrize(
    "trace", [[(0.0, 0.3, 70.0)], [(0.02, 0.3, 70.0)], [(0.0, 0.3, 70.0), (0.02, 0.5, 60.0)]]
)
def test_threshold_of_few_trials(trace: list[tuple[float, float, float]]) -> None:
    figure = threshold_search(trace, trace[0][0], 71.0, 69.0, "top1")
    assert ("0" in texts(figure)) == (trace[0][0] == 0)
    assert inline_svg(figure, "key", "title").count('class="mark"') == len(trace)


def test_estimates_are_hollow() -> None:
    trace = [(0.1, 0.9, 60.0), (0.01, 0.5, 80.0)]
    figure = threshold_search(trace, 0.01, 81.0, 79.0, "top1", estimated={0.1})
    faces = {
        float(line.get_xdata()[0]): line.get_markerfacecolor()
        for line in figure.axes[0].lines
        if line.get_marker() in ("o", "D")
    }
    assert faces[0.1] == "none"
    assert faces[0.01] != "none"


@pytest.mark.parametrize(
    "figure",
    [
        selection("a" * 24, [0.98121, 0.98124], [0.99231, 0.99234], [True, False], None),
        weight_histogram("a" * 24, [-1e-4, 0, 1e-4], [300_000_000, 1], [1, 2], 1.23e-5),
        training_curve("a" * 24, [1.2345, 1.2344], 120_000),
        training_curve("a" * 24, [12_345.0, 0.001], 3),
        precision_recall("a" * 24, ([0, 1], [1, 0], 100.0), ([0, 1], [1, 0], 100.0)),
    ],
)
def test_what_fixed_margins_hold_is_whole(figure: Figure) -> None:
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height


def test_region_of_removed_filters() -> None:
    assert region(0.9, 0.6, 0.8) == [
        (0.6, 0.8),
        (0.6, 1),
        (1, 1),
        (1, 0),
        (0.9, 0),
        (0.9, 0.8),
    ]


def test_region_holds_what_the_levels_remove() -> None:
    # Without s'_F below s_F the second rule adds nothing.
    for levels in ((0.9, 0.6, 0.8), (0.5, 0.7, 0.3)):
        s_F, s_F_both, s_G = levels
        figure = selection("a", [0.1, 1.0], [0.1, 1.0], [True, False], levels)
        (shape,) = [patch for patch in figure.axes[0].patches if isinstance(patch, Polygon)]
        for F, G in np.random.default_rng(0).random((500, 2)):
            inside = shape.get_path().contains_point((F, G))
            assert inside == any((s_F <= F, s_F_both <= F and s_G <= G))


def test_selection_counts_and_limits() -> None:
    figure = selection("a", [0.5, 0.9, 1.0], [0.2, 1.0, 0.9], [True, False, False], None)
    assert {"1 kept", "2 removed"} <= set(texts(figure))
    assert sorted(markers(figure)) == [1, 2]
    (axes,) = figure.axes
    assert series(axes) == {"1 kept": ([0.5], [0.2]), "2 removed": ([0.9, 1.0], [1.0, 0.9])}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("zeros in F", "zeros in G")
    assert axes.get_xlim() == pytest.approx((0.47, 1.0))
    assert axes.get_ylim() == pytest.approx((0.152, 1.0))


def test_selection_of_many_filters_is_light() -> None:
    F, G = np.random.default_rng(0).random((2, 1024))
    figure = selection("conv6", list(F), list(G), [bool(f < 0.5) for f in F], (0.5, 0.4, 0.9))
    assert sum(markers(figure)) == 1024
    assert len(inline_svg(figure, "selection-conv6", "title")) < 64_000


def test_accuracy_has_values_where_they_are_few() -> None:
    steps = [(f"step {n}", 50.0 + n, n // 10) for n in range(31)]
    assert "50.0" in texts(accuracy_by_step(steps[:30], "top1"))
    # On the axis there may be a round 50; with a digit after the point there is none.
    assert "51.0" not in texts(accuracy_by_step(steps, "top1"))
    assert {"phase 1", "phase 2"} <= set(texts(accuracy_by_step(steps, "top1")))


def test_accuracy_has_no_ticks_beyond_100() -> None:
    (axes,) = accuracy_by_step([("a", 2.0, 0), ("b", 100.0, 1)], "top1").axes
    assert axes.get_ylim()[1] > 100
    assert list(axes.get_yticks()) == [0, 20, 40, 60, 80, 100]


def test_training_spans_and_scales() -> None:
    (axes,) = training_curve("dense", [10.0, 1.0, 0.5], 300).axes
    assert list(axes.lines[0].get_xdata()) == [50, 150, 250]
    assert axes.get_yscale() == "log"
    assert isinstance(axes.yaxis.get_major_locator(), FixedLocator)
    assert training_curve("dense", [10.0, 1.0], 300).axes[0].get_yscale() == "linear"
    assert training_curve("dense", [0.0], 1).axes[0].get_ylim() == (0, 1)


def test_precision_recall_of_both_networks() -> None:
    (axes,) = CHARTS["precision_recall"][0]().axes
    assert series(axes) == {
        "dense 92.3": ([0, 1], [1, 0.5]),
        "slim 93.4": ([0, 1], [1, 0.6]),
    }
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("recall", "precision")


def test_precision_recall_of_one_network() -> None:
    assert "dense 92.3" in texts(CHARTS["precision_recall"][0]())
    figure = precision_recall("stop", None, ([0, 1], [1, 0.6], 93.44))
    assert "slim 93.4" in texts(figure)
    assert inline_svg(figure, "key", "title").count('class="mark"') == 1


def test_class_accuracy_of_both_networks() -> None:
    (axes,) = class_accuracy(["a", "b"], [90.0, 80.0], [91.0, 70.0], "AP50_area").axes
    assert series(axes) == {"dense": ([90, 80], [0, 1]), "slim": ([91, 70], [0, 1])}
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    colours = {line.get_label(): to_hex(line.get_color()) for line in axes.lines if line.get_gid()}
    assert colours == {"dense": LIGHT["dense"], "slim": LIGHT["slim"]}


def test_class_accuracy_keeps_what_changed_most() -> None:
    names = [f"class {n}" for n in range(70)]
    dense = [50.0] * 70
    slim = [50.0 + n for n in range(40)] + [None] + [50.0 - n / 2 for n in range(29)]
    figure = class_accuracy(names, dense, slim, "top1")
    written = [text for text in texts(figure) if text.startswith("class ")]
    assert len(written) == 60
    assert written == [name for name in names if name in written]
    assert "class 40" not in written
    assert "class 39" in written
    taller = class_accuracy(names[:20], dense[:20], slim[:20], "top1").get_figheight()
    assert class_accuracy(names[:10], dense[:10], slim[:10], "top1").get_figheight() < taller


def test_comparison_draws_points_errors_and_the_dense_network() -> None:
    figure = CHARTS["comparison"][0]()
    assert markers(figure) == [2, 2]
    words = {"ours", "l1", "dense", "MACs kept, %", "top1 on test, %", "15", "50"}
    assert words <= set(texts(figure))
    (axes,) = figure.axes
    dense, *lines = axes.lines
    assert list(dense.get_ydata()) == [93.0, 93.0]
    curves = [line for line in lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]
    assert [list(line.get_xdata()) for line in curves] == [[15, 50], [15, 50]]
    assert [list(line.get_ydata()) for line in curves] == [[80, 92], [60, 90]]
    bars = [bar.get_segments()[0][:, 1].tolist() for bar in axes.collections]
    assert bars == [[78.5, 81.5], [60, 60]]


def test_comparison_of_one_budget() -> None:
    figure = comparison([Curve("ours", [0.3], [80.0], [None])], 93.0, "top1")
    assert markers(figure) == [1]
    assert "30" in texts(figure)


def test_many_curves_of_a_comparison_can_be_told_apart() -> None:
    curves = [Curve(f"method {n}", [0.3, 0.5], [80.0 - n, 90.0 - n], [1.0, 1.0]) for n in range(14)]
    figure = comparison(curves, 93.0, "top1")
    looks = [
        (line.get_color(), line.get_marker(), line.get_linestyle())
        for line in figure.axes[0].lines
        if line.get_gid() == "mark"
    ]
    assert len(set(looks)) == len(looks) == 14
    assert {curve.name for curve in curves} <= set(texts(figure))


def test_scales_draw_dense_and_slim_over_the_number_of_layers() -> None:
    figure = CHARTS["scales"][0]()
    assert markers(figure) == [2, 2]
    words = {"dense", "slim", "1", "6", "2.7 M", "3.93 M", "AP50_voc07 on test, %"}
    assert words <= set(texts(figure))
    (axes,) = figure.axes
    dense, slim = (line for line in axes.lines if line.get_gid() == "mark")
    assert (to_hex(dense.get_color()), list(dense.get_xdata())) == (LIGHT["dense"], [1, 6])
    assert (to_hex(slim.get_color()), list(slim.get_xdata())) == (LIGHT["slim"], [1, 6])
    assert [list(line.get_ydata()) for line in (dense, slim)] == [[27.0, 77.2], [25.6, 75.1]]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["dense", "slim"]
    bars = [bar.get_segments()[0][:, 1].tolist() for bar in axes.collections]
    assert bars == [[25.5, 28.5], pytest.approx([25.1, 26.1])]


def test_confusion_shades_rows() -> None:
    figure = confusion([[3, 1, 0], [0, 0, 0], [0, 0, 9]], ["a", "b", "c"])
    assert [p.get_alpha() for p in figure.axes[0].patches] == [0.28, 0.48, 0.55]
    written = texts(figure)
    assert [text for text in written if text.isdigit()] == ["3", "1", "9"]
    # The true class is the row, and rows go down.
    assert figure.axes[0].get_ylabel() == "true class"
    assert figure.axes[0].get_ylim() == (2.5, -0.5)
    wrong = figure.axes[0].patches[0].get_path().get_extents()
    assert (wrong.x0 + wrong.x1, wrong.y0 + wrong.y1) == pytest.approx((2, 0))


def test_confusion_of_many_classes() -> None:
    assert "c12" in texts(confusion(np.eye(13, dtype=int), [f"c{n}" for n in range(13)]))
    figure = confusion(np.eye(300, dtype=int), [f"c{n}" for n in range(300)])
    assert "c12" not in texts(figure)
    assert inline_svg(figure, "key", "title").count('class="mark"') == 1


def slow_front(points: list[Point]) -> set[int]:
    """Compares each point with every other."""
    front = set()
    for i, (*_, x, y) in enumerate(points):
        dominated = False
        for _, _, less, more in points:
            if less <= x and more >= y and (less < x or more > y):
                dominated = True
        if not dominated:
            front.add(i)
    return front


def test_pareto_front_like_a_slow_loop() -> None:
    source = random.Random(0)  # noqa: S311 # not cryptography
    for _ in range(200):
        points: list[Point] = [
            ("run", "slim", float(source.randint(1, 8)), float(source.randint(1, 8)))
            for _ in range(source.randint(0, 12))
        ]
        found = pareto_front(points)
        assert set(found) == slow_front(points)
        assert len(found) == len(set(found))
        assert found == sorted(found, key=lambda i: (points[i][2], points[i][3]))


def test_pareto_draws_and_names_runs() -> None:
    figure = pareto([("r", "dense", 1e6, 90.0), ("s", "slim", 1e5, 91.0)], "parameters", "top1")
    assert {"r", "s", "parameters", "top1, %", "1 M"} <= set(texts(figure))
    (axes,) = figure.axes
    assert series(axes) == {"dense": ([1e6], [90.0]), "slim": ([1e5], [91.0])}
    assert {text.get_text(): text.xy for text in axes.texts} == {"r": (1e6, 90.0), "s": (1e5, 91.0)}
    (line,) = (line for line in axes.lines if line.get_label() == "Pareto front")
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1e5], [91.0])


def test_sweep_tells_the_pareto_front_from_the_others() -> None:
    by_cost = CHARTS["sweep"][0]().axes
    for axes, name, costs in zip(
        by_cost, ("parameters", "MACs"), ((1e6, 2e5, 4e5), (9e6, 3e6, 2e6)), strict=True
    ):
        dense, front, other = costs
        assert axes.get_xlabel() == name
        assert series(axes) == {
            "dense": ([dense], [90.0]),
            "Pareto front": ([front], [88.0]),
            "dominated": ([other], [70.0]),
        }
        assert {text.get_text(): text.xy for text in axes.texts} == {"0": (front, 88.0)}


def test_labels_of_points_that_stand_apart_do_not_meet() -> None:
    points: list[Point] = [(f"run {n}", "slim", 1e5 * (1 + n / 20), 90.0) for n in range(4)]
    figure = pareto(points, "parameters", "top1")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 4
    for n, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:n])


def write_filters(folder: Path) -> None:
    figure = CHARTS["filters"][0]()
    write_figure(figure, inline_svg(figure, "filters", "title"), folder, "filters")


def test_written_figures(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_filters(folder)
        assert sorted(path.name for path in folder.iterdir()) == ["filters.png", "filters.svg"]
    for name in ("filters.svg", "filters.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    svg = (tmp_path / "a" / "filters.svg").read_text("utf-8")
    assert "var(" not in svg
    assert "#1f5fc4" in svg
    assert "fill:#ffffff" in svg
    with pytest.raises(RunError, match="cannot be written"):
        write_filters(tmp_path / "a" / "filters.svg")


def test_the_users_settings_change_nothing_and_stay() -> None:
    expected = inline_svg(CHARTS["filters"][0](), "key", "title")
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        assert inline_svg(CHARTS["filters"][0](), "key", "title") == expected
        assert mpl.rcParams["font.size"] == 30


def test_charts_stand_alone() -> None:
    allowed = {"numpy", "matplotlib", "defusedxml"}
    standard = {
        "collections",
        "contextlib",
        "io",
        "math",
        "pathlib",
        "re",
        "typing",
        "warnings",
        "xml",
    }
    for path in Path(charts.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            for module in modules:
                own = module.startswith("secateur.report.charts.")
                assert (
                    own
                    or module == "secateur.files.atomic_write"
                    or module.split(".")[0] in (allowed | standard)
                ), f"{path.name}: {module}"
                assert "pyplot" not in module


def test_names_are_no_colours_in_files(tmp_path: Path) -> None:
    names = ["var(--chart-ink)", 'style="var(--chart-x)"']
    figure = filters(names, [("dense", [2, 3]), ("phase 1", [1, 2])])
    write_figure(figure, inline_svg(figure, "key", "title\x01"), tmp_path, "key")
    svg = (tmp_path / "key.svg").read_text("utf-8")
    assert "var(--chart-ink)" in svg
    assert "var(--chart-x)" in svg
    assert svg.count("var(") == 2
    ElementTree.fromstring(svg)  # noqa: S314 # our own
