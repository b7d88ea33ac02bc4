"""Rendering of templates, with style and script inlined and all other text escaped."""

import base64
import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from secateur.report.charts.theme import css as chart_css

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **content: Any) -> str:
    """Render a template with what every page has: version, style and script."""
    script = (TEMPLATES / "script.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            version=version("secateur"),
            # Files of this package, which contain nothing from a run.
            css=Markup((TEMPLATES / "style.css").read_text("utf-8")),  # noqa: S704
            chart_css=Markup(chart_css()),  # noqa: S704
            script=Markup(script),  # noqa: S704
            script_digest=digest,
            **content,
        )
    )


def is_page(path: Path) -> bool:
    """Whether a file begins as the pages that ``render`` gives."""
    with path.open("rb") as file:
        return b'<meta name="generator" content="secateur ' in file.read(1000)


@cache
def _environment() -> Environment:
    """Text from a run, class names above all, is escaped."""
    return Environment(
        loader=PackageLoader("secateur.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
