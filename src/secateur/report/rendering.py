"""Templates filled: with style and script inside, and everything a run says escaped."""

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
    """Fill a template with style, script and what else every page has."""
    script = (TEMPLATES / "script.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            version=version("secateur"),
            # Our own files, which hold nothing of a run's.
            css=Markup((TEMPLATES / "style.css").read_text("utf-8")),  # noqa: S704
            chart_css=Markup(chart_css()),  # noqa: S704
            script=Markup(script),  # noqa: S704
            script_digest=digest,
            **content,
        )
    )


@cache
def _environment() -> Environment:
    """Everything a run says is escaped, class names above all."""
    return Environment(
        loader=PackageLoader("secateur.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
