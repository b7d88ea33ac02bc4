"""Write the pages that the documentation site is built from, into ``build/pages``.

The pages in ``docs/`` and at the top of the repository are readable on their own, and link to each
other there. Here they get one folder: links are rewritten to it, and what they link to is copied.
The API reference is a list of the public names; mkdocstrings fills in their docstrings.

``make docs`` runs this script and then builds the site.
"""

import ast
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "build" / "pages"
# Pages at the top of the repository, and their names in the site.
TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Titles of the reference's sections, by room of the package.
ROOMS = {
    "pruning": "Pruning",
    "models": "Networks and their files",
    "config": "Recipes",
    "run": "Runs",
    "inference": "Inference",
    "export": "Export",
    "errors": "Errors",
}


def page_names() -> dict[str, str]:
    """Map every page's path in the repository to its name in the site."""
    docs = sorted((ROOT / "docs").glob("*.md"))
    return TOP | {f"docs/{path.name}": path.name for path in docs}


def convert(source: str, names: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Rewrite the links of a page.

    Args:
        source: path of the page in the repository.
        names: what ``page_names`` returns.

    Returns:
        The page's text, and the other files it links to: path in the repository, name in the site.

    Raises:
        FileNotFoundError: a link leads to no file.
    """
    files: dict[str, str] = {}

    def rewritten(link: re.Match[str]) -> str:
        target, mark, anchor = link[1].partition("#")
        if not target or "://" in target:
            return link[0]
        path = (ROOT / source).parent / target
        if not path.exists():
            raise FileNotFoundError(f"{source} links to {target}, which does not exist")
        place = path.resolve().relative_to(ROOT).as_posix()
        name = names.get(place) or files.setdefault(place, place.removeprefix("docs/"))
        return f"]({name}{mark}{anchor})"

    return LINK.sub(rewritten, (ROOT / source).read_text("utf-8")), files


def reference() -> str:
    """Return the reference page: every public name below the title of its room."""
    tree = ast.parse((ROOT / "src" / "secateur" / "__init__.pyi").read_text("utf-8"))
    found: dict[str, list[str]] = {room: [] for room in ROOMS}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("secateur."):
            home = str(node.module)
            names = (a.name for a in node.names if a.asname == a.name)
            found[home.split(".")[1]] += [f"{home}.{name}" for name in names]
    lines = ["# API reference", "", "The public names of `secateur`. Import them from the top: "]
    lines += ["`from secateur import compress`.", ""]
    for room, objects in found.items():
        lines += [f"## {ROOMS[room]}", "", *(f"::: {name}\n" for name in objects)]
    return "\n".join(lines)


def main() -> None:
    """Write all pages and copy what they link to."""
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir(parents=True)
    names = page_names()
    for source, name in names.items():
        text, files = convert(source, names)
        (PAGES / name).write_text(text, "utf-8")
        for place, copy in files.items():
            target = PAGES / copy
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / place, target)
    (PAGES / "reference.md").write_text(reference(), "utf-8")


if __name__ == "__main__":
    main()
