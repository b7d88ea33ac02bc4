"""The chart of a sweep, with numbers set by hand."""

from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from secateur.report.charts.sweep import Tried, sweep
from secateur.report.charts.theme import inline_svg

TRIED = [
    Tried("0", 92.0, (183e3, 63e6), True),
    Tried("1", 91.0, (190e3, 70e6), False),
    Tried("12", 80.0, (90e3, 30e6), True),
    Tried("13", 60.0, (95e3, 31e6), False),
]
DENSE = (92.3, (1.55e6, 276e6))


def chart(tried: list[Tried]) -> Figure:
    return sweep(tried, DENSE, ("parameters", "MACs"), "AP50_area on validation")


def elements(figure: Figure) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(inline_svg(figure, "sweep", "title")).iter())  # noqa: S314 # our own


def marks(figure: Figure) -> list[int]:
    """Number of points in each group of marks."""
    found = [each for each in elements(figure) if each.get("class") == "mark"]
    return [sum(part.tag.endswith("}use") for part in mark.iter()) for mark in found]


def texts(figure: Figure) -> list[str]:
    return [each.text or "" for each in elements(figure) if each.tag.endswith("}text")]


def test_dense_dominated_and_front_against_each_cost() -> None:
    assert marks(chart(TRIED)) == [1, 2, 2] * 2


def test_points_of_the_front_are_labelled_in_each_panel() -> None:
    written = texts(chart(TRIED))
    for text, count in (("0", 2), ("12", 2), ("1", 0), ("13", 0), ("MACs", 1), ("dense", 1)):
        assert written.count(text) == count, text
    assert "AP50_area on validation, %" in written


def test_a_cost_without_the_dense_network() -> None:
    tried = [Tried("0", 92.0, (183e3, 63e6, 1.25), True)]
    figure = sweep(tried, DENSE, ("parameters", "MACs", "ms per picture"), "top1")
    assert marks(figure) == [1, 1] * 2 + [1]


def test_no_complete_trial() -> None:
    assert marks(chart([])) == [1] * 2


@pytest.mark.parametrize("count", [25, 26])
def test_a_large_front_is_not_labelled(count: int) -> None:
    many = [Tried(f"t{n}", 50.0 + n, (1e5 + 1e4 * n, 1e7 + 1e6 * n), True) for n in range(count)]
    named = [text for text in texts(chart(many)) if text.startswith("t")]
    assert len(named) == (50 if count == 25 else 0)


def test_same_numbers_same_file_in_themed_colours() -> None:
    svg = inline_svg(chart(TRIED), "sweep", "title")
    assert inline_svg(chart(TRIED), "sweep", "title") == svg
    assert "stroke: #" not in svg
    assert len(svg) < 15_000
