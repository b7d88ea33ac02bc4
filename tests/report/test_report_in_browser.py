"""Reports in a browser: what a page does when it is opened from disk."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from secateur.cli.main import main

ROOT = Path(__file__).parents[2]
# The runs of these tests, and two real ones, if they are in the folder runs.
RUNS = ["detector", "classifier", "quickstart", "gtsdb_laptop"]
DETECTORS = [name for name in RUNS if name != "classifier"]


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages by the name of the run, as they are made."""
    return {"folder": tmp_path_factory.mktemp("pages")}


def page_of(name: str, request: pytest.FixtureRequest, pages: dict[str, Path]) -> Path:
    if name not in pages:
        if name in ("detector", "classifier"):
            run = request.getfixturevalue(f"{name}_run")
        else:
            run = ROOT / "runs" / name
            if not (run / "summary.json").is_file():
                pytest.skip(f"there is no run in runs/{name}")
        pages[name] = pages["folder"] / f"{name}.html"
        with pytest.raises(SystemExit) as end:
            main(["report", str(run), "--out", str(pages[name])])
        assert end.value.code == 0
    return pages[name]


def open_page(browser: Chrome, page: Path) -> None:
    """Open a page and wait until it is complete: the driver sometimes returns too early."""
    browser.get(page.as_uri())
    WebDriverWait(browser, 30, 0.05).until(
        lambda browser: browser.execute_script("return document.readyState") == "complete"
    )


@pytest.fixture
def opened(
    browser: Chrome, request: pytest.FixtureRequest, pages: dict[str, Path]
) -> Iterator[Chrome]:
    """The browser, with the page of the run that the test's parameter names."""
    page = page_of(request.param, request, pages)
    browser.get_log("browser")
    browser.get_log("performance")
    open_page(browser, page)
    yield browser
    messages = [entry["message"] for entry in browser.get_log("browser")]
    assert messages == []


@pytest.mark.parametrize("opened", RUNS, indirect=True)
def test_no_request_leaves_the_page(opened: Chrome) -> None:
    sent = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    urls = [
        entry["params"]["request"]["url"]
        for entry in sent
        if entry["method"] == "Network.requestWillBeSent"
    ]
    assert urls[0] == opened.current_url
    assert [url for url in urls[1:] if not url.startswith("data:")] == []


@pytest.mark.parametrize("opened", RUNS, indirect=True)
def test_every_chart_has_its_marks(opened: Chrome) -> None:
    marks = opened.execute_script(
        """
        const drawn = (mark) => {
          const {width, height} = mark.getBoundingClientRect();
          return width > 0 || height > 0;
        };
        return [...document.querySelectorAll("figure.chart")].map(
          chart => [chart.dataset.name, [...chart.querySelectorAll(".mark")].filter(drawn).length]);
        """
    )
    assert len(marks) > 10
    assert [name for name, count in marks if count == 0] == []


@pytest.mark.parametrize("opened", DETECTORS, indirect=True)
def test_the_slider_changes_the_boxes(opened: Chrome) -> None:
    slider = opened.find_element(By.CSS_SELECTOR, ".confidence input")
    scores = opened.execute_script(
        "return [...document.querySelectorAll('.found')].map(box => +box.dataset.score)"
    )

    def shown() -> int:
        return int(
            opened.execute_script(
                "return [...document.querySelectorAll('.found')]"
                ".filter(box => getComputedStyle(box).display !== 'none').length"
            )
        )

    assert shown() == sum(score >= 0.4 for score in scores)
    before = [count.text for count in opened.find_elements(By.CSS_SELECTOR, ".count")]
    slider.send_keys(Keys.HOME)
    assert shown() == len(scores) > 0
    after = [count.text for count in opened.find_elements(By.CSS_SELECTOR, ".count")]
    assert before != after
    slider.send_keys(Keys.END)
    assert shown() == sum(score >= 1 for score in scores)


@pytest.mark.parametrize("opened", DETECTORS, indirect=True)
def test_the_slider_counts_what_is_shown(opened: Chrome) -> None:
    panes = opened.execute_script(
        """
        const count = (pane, kind) => pane.querySelectorAll(`.${kind}:not(.filtered)`).length;
        return [...document.querySelectorAll(".pair figure")].map(pane => [
          pane.querySelector(".count").textContent,
          `finds ${count(pane, "found.hit")} of ` +
          `${pane.querySelectorAll("rect.truth:not(.under)").length}, ` +
          `${count(pane, "found.false")} false`]);
        """
    )
    assert panes
    assert all(said == counted for said, counted in panes), panes


@pytest.mark.parametrize("opened", DETECTORS, indirect=True)
def test_pictures_are_shown_and_enlarge(opened: Chrome) -> None:
    pair = opened.find_element(By.CSS_SELECTOR, ".pair")
    sizes = [use.rect for use in pair.find_elements(By.CSS_SELECTOR, "use")]
    assert len(sizes) == 2
    assert all(size["width"] > 100 for size in sizes)
    pair.send_keys(Keys.ENTER)
    dialog = opened.find_element(By.CSS_SELECTOR, "dialog")
    svg = dialog.find_element(By.CSS_SELECTOR, "svg")
    _, _, width, height = map(float, (svg.get_dom_attribute("viewBox") or "").split())
    dialog.find_element(By.CSS_SELECTOR, "button[aria-label='zoom in']").click()
    views = {each.get_dom_attribute("viewBox") for each in dialog.find_elements(By.TAG_NAME, "svg")}
    assert len(views) == 1  # both panes move together
    x, y, w, h = map(float, (views.pop() or "").split())
    # Enlarged by half, around the centre.
    assert [w, h] == pytest.approx([width / 1.5, height / 1.5])
    assert [x + w / 2, y + h / 2] == pytest.approx([width / 2, height / 2])
    dialog.find_element(By.CSS_SELECTOR, "button[aria-label='close']").click()
    assert opened.find_elements(By.CSS_SELECTOR, "dialog") == []


@pytest.mark.parametrize("opened", RUNS, indirect=True)
def test_the_table_sorts(opened: Chrome) -> None:
    table = opened.find_element(By.CSS_SELECTOR, "#filters table")
    heads = table.find_elements(By.CSS_SELECTOR, "thead th")
    assert heads[1].text == "dense"

    def column() -> list[int]:
        cells = opened.execute_script(
            "return [...arguments[0].tBodies[0].rows].map(row => row.cells[1].textContent)", table
        )
        return [int(cell.replace(",", "")) for cell in cells]

    original = column()
    heads[1].find_element(By.TAG_NAME, "button").click()
    assert column() == sorted(original)
    assert heads[1].get_attribute("aria-sort") == "ascending"
    heads[1].find_element(By.TAG_NAME, "button").click()
    assert column() == sorted(original, reverse=True)
    heads[0].find_element(By.TAG_NAME, "button").click()
    assert column() == original
    assert heads[1].get_attribute("aria-sort") is None


def test_missing_values_are_sorted_last(
    browser: Chrome, request: pytest.FixtureRequest, pages: dict[str, Path], tmp_path: Path
) -> None:
    page = page_of("detector", request, pages).read_text("utf-8")
    before, table, after = re.split(
        r'(?<=<section id="filters">)(.*?)(?=</section>)', page, maxsplit=1, flags=re.DOTALL
    )
    rows = "".join(
        f'<tr><th scope="row">{value}</th><td data-value="{value}">{value}</td></tr>'
        for value in ("5", "–", "1", "–", "10")
    )
    table = re.sub(r"<tbody>.*?</tbody>", f"<tbody>{rows}</tbody>", table, flags=re.DOTALL)
    altered = tmp_path / "altered.html"
    altered.write_text(before + table + after, "utf-8")
    open_page(browser, altered)
    columns = []
    for _ in range(2):
        browser.find_elements(By.CSS_SELECTOR, "#filters thead th button")[1].click()
        cells = browser.find_elements(By.CSS_SELECTOR, "#filters tbody td")
        columns.append([cell.text for cell in cells])
    assert columns == [["1", "5", "10", "–", "–"], ["10", "5", "1", "–", "–"]]


@pytest.mark.parametrize("opened", RUNS, indirect=True)
def test_one_chart_of_many_is_picked(opened: Chrome) -> None:
    gallery = opened.find_element(By.CSS_SELECTOR, "#weights .gallery")
    picker = opened.find_element(By.CSS_SELECTOR, "#weights select")
    names = [option.text for option in picker.find_elements(By.TAG_NAME, "option")]
    charts = gallery.find_elements(By.CSS_SELECTOR, "figure")
    assert names == ["all", *(chart.get_attribute("data-name") for chart in charts)]
    Select(picker).select_by_visible_text(names[3])
    assert [chart.is_displayed() for chart in charts] == [name == names[3] for name in names[1:]]
    Select(picker).select_by_visible_text("all")
    assert all(chart.is_displayed() for chart in charts)


LUMINANCES = """
const pen = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const rgb = (colour) => {
  pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
  return [...pen.getImageData(0, 0, 1, 1).data];
};
const light = (colour) => {
  const [r, g, b] = rgb(colour).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const background = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (rgb(colour)[3] === 255) return colour;
  }
  return "white";
};
const texts = [...document.querySelectorAll(
  "h1, h2, h3, p, a, th, td, pre, summary, figcaption, .chart svg text, th button, label, output")];
return texts.filter(e => e.textContent.trim() && e.checkVisibility()).map(e => {
  const ink = e instanceof SVGElement ? getComputedStyle(e).fill : getComputedStyle(e).color;
  const [a, b] = [light(ink), light(background(e))].sort((x, y) => y - x);
  return [(a + 0.05) / (b + 0.05), e.tagName + ": " + e.textContent.trim().slice(0, 40)];
});
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("opened", RUNS, indirect=True)
def test_text_has_contrast(opened: Chrome, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        page = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert page == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]
        ratios = opened.execute_script(LUMINANCES)
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(ratios) > 50
    # WCAG 2, level AA.
    assert [(round(ratio, 2), text) for ratio, text in ratios if ratio < 4.5] == []


@pytest.mark.parametrize("opened", RUNS, indirect=True)
def test_nothing_is_wider_than_a_phone(opened: Chrome) -> None:
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        assert opened.execute_script("return document.documentElement.scrollWidth") == 360
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


SEEN = """
const parts = document.querySelectorAll(
  "figure, svg, svg text, tbody tr, td, pre, section > p, .count, .found");
return [...parts].map(part => [
  part.tagName, part.textContent, part.checkVisibility(), getComputedStyle(part).display]);
"""


@pytest.mark.parametrize("name", RUNS)
def test_the_page_is_complete_without_scripts(
    browser: Chrome, request: pytest.FixtureRequest, pages: dict[str, Path], name: str
) -> None:
    page = page_of(name, request, pages)
    seen = []
    try:
        for off in (True, False):
            browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": off})
            open_page(browser, page)
            seen.append(browser.execute_script(SEEN))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert seen[0] == seen[1]
    assert len(seen[0]) > 100


def test_names_that_hold_html_are_shown_as_text(
    browser: Chrome, request: pytest.FixtureRequest, pages: dict[str, Path]
) -> None:
    open_page(browser, page_of("detector", request, pages))
    names = [
        head.text for head in browser.find_elements(By.CSS_SELECTOR, "#test tbody th[scope=row]")
    ]
    assert "<b onclick=alert(1)>square</b>" in names
    assert "=disc & 'round'" in names
    assert browser.find_elements(By.CSS_SELECTOR, "[onclick], main b") == []
    # A script that is not the page's own does not run.
    browser.execute_script(
        "document.body.append(Object.assign(document.createElement('script'),"
        "{textContent: 'window.foreign = 1'}))"
    )
    assert browser.execute_script("return window.foreign") is None
    assert any("Content Security Policy" in e["message"] for e in browser.get_log("browser"))


def test_several_runs_have_a_pareto_front(
    browser: Chrome, detector_run: Path, tmp_path: Path
) -> None:
    page, other = tmp_path / "several.html", tmp_path / "other"
    shutil.copytree(detector_run, other)
    with pytest.raises(SystemExit) as end:
        main(["report", str(detector_run), str(other), "--out", str(page)])
    assert end.value.code == 0
    browser.get_log("browser")
    open_page(browser, page)
    charts = browser.find_elements(By.CSS_SELECTOR, "figure.chart")
    assert [chart.get_attribute("data-name") for chart in charts] == [
        "AP50_area against parameters",
        "AP50_area against MACs",
        "AP50_area against file",
    ]
    assert all(chart.find_elements(By.CSS_SELECTOR, ".mark") for chart in charts)
    assert browser.get_log("browser") == []
