"""Take pictures of parts of the quick start's report for the docs, in a headless Chromium.

Run it after ``make demo``: ``.venv/bin/python docs/make_report_images.py``.
"""

import base64
import shutil
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "runs" / "quickstart" / "report.html"
WIDTH = 1180
# File, first element, the element after the last, and the largest height in pixels.
PARTS = (
    ("headline", "header", "nav", 2000),
    ("report", "header", "#filters table", 2000),
    ("report_pictures", "#pictures", "#weights", 870),
)


def main() -> None:
    """Open the page and write a picture of each part."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    browser = Chrome(options, ChromeService(shutil.which("chromedriver")))
    browser.set_window_size(WIDTH, 900)
    browser.get(PAGE.as_uri())
    place = "return document.querySelector(arguments[0]).getBoundingClientRect().top + scrollY"
    for name, first, after, most in PARTS:
        top, end = (browser.execute_script(place, part) for part in (first, after))
        clip = {"x": 0, "y": top, "width": WIDTH, "height": min(end - top, most), "scale": 1}
        shot = browser.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        )
        (ROOT / "docs" / "images" / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))
    browser.quit()


if __name__ == "__main__":
    main()
