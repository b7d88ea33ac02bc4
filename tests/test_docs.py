"""The pages of docs/ hold what they say."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

import secateur
from secateur.cli.main import app
from secateur.config.recipe import load_recipe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_recipe_page_is_up_to_date() -> None:
    made = runpy.run_path(str(DOCS / "make_recipe_page.py"))["page"]()
    written = (DOCS / "recipe.md").read_text("utf-8")
    assert written == made, "run python docs/make_recipe_page.py"


def test_lists_are_those_of_the_tables() -> None:
    maker = runpy.run_path(str(DOCS / "make_lists.py"))
    for page in maker["LISTS"]:
        written = (DOCS / page).read_text("utf-8")
        assert written == maker["filled"](page), "run python docs/make_lists.py"


def test_results_are_those_of_the_files() -> None:
    maker = runpy.run_path(str(DOCS / "make_results_page.py"))
    results = maker["read_results"]()
    assert (DOCS / "results.md").read_text("utf-8") == maker["page"](results)
    text = (ROOT / "README.md").read_text("utf-8")
    assert maker["readme"](text, results) == text, "run python docs/make_results_page.py"


@pytest.mark.parametrize(
    ("page", "commands"),
    [
        ("README.md", 10),
        ("docs/shipping.md", 10),
        ("docs/run-folder.md", 4),
        ("docs/compare.md", 2),
        ("docs/curve.md", 2),
        ("docs/sweep.md", 2),
    ],
)
def test_commands_shown_are_commands(page: str, commands: int) -> None:
    """Their names and options are known; nothing is run."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / page).read_text("utf-8"), re.S)
    lines = [
        line for block in blocks for line in block.splitlines() if line.startswith("secateur ")
    ]
    assert len(lines) >= commands
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    context = group.make_context("secateur", [], resilient_parsing=True)
    for line in lines:
        name, *arguments = shlex.split(line, comments=True)[1:]
        command = group.get_command(context, name)
        assert command is not None, line
        command.make_context(name, arguments)


def test_recipe_shown_is_valid(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "recipe.md").read_text("utf-8"), re.S)
    (tmp_path / "recipe.yaml").write_text(text)
    assert load_recipe(tmp_path / "recipe.yaml").name == "mine"


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    "page", [p.relative_to(ROOT).as_posix() for p in [*ROOT.glob("*.md"), *DOCS.glob("*.md")]]
)
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text("utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.is_file(), link
        assert not anchor or anchor in _anchors(path), link


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", (ROOT / "README.md").read_text("utf-8")))
    linked |= {"docs/networks.md", "docs/licences.md"}  # from library.md and dependencies.md
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} <= linked


def test_site_builds_without_warnings(tmp_path: Path) -> None:
    """From copies, so that tests that run at the same time do not meet."""
    pytest.importorskip("zensical")
    for name in ("docs", "examples", "src"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for path in [*ROOT.glob("*.md"), ROOT / "LICENSE", ROOT / "zensical.toml"]:
        shutil.copy(path, tmp_path)
    for command in (["docs/make_site.py"], ["-m", "zensical", "build", "--strict", "--clean"]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            check=False,  # the assertion below shows what was printed
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    reference = (tmp_path / "site" / "reference" / "index.html").read_text("utf-8")
    for name in set(secateur.__all__) - {"load"}:  # another name of load_network
        assert re.search(rf'id="secateur\.[\w.]+\.{name}"', reference), name
    # Nothing is fetched when a page is opened.
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text("utf-8")
        sources = re.findall(r'<(?:script|link|img)\b[^>]*\b(?:src|href)="([^"]+)"', text)
        assert not [s for s in sources if s.startswith(("http:", "https:", "//"))], page


@pytest.mark.parametrize("script", sorted(path.name for path in DOCS.glob("make_*.py")))
def test_scripts_import_what_exists(script: str) -> None:
    runpy.run_path(str(DOCS / script))


def test_every_dependency_has_its_row() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = {re.split(r"[^\w.-]", each)[0] for each in sum(extras, project["dependencies"])}
    rows = re.findall(r"^\| ([\w-]+) \|", (DOCS / "dependencies.md").read_text("utf-8"), re.M)
    assert set(rows) - {"package", "part"} == wanted - {"secateur"}


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/guarantees.md"])
def test_what_is_promised_names_tests_that_are_there(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / page).read_text("utf-8")))
    sources = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    there = {name for source in sources for name in re.findall(r"def (test_\w+)\(", source)}
    assert named
    assert named <= there
