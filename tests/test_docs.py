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
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models.detection.ssd import SSD
from typer.core import TyperGroup

import secateur
from secateur.cli.main import app
from secateur.config.recipe import load_recipe
from secateur.models.network_file import load_network, save_network
from secateur.models.ssd import build_ssd, ssd_architecture
from secateur.models.vgg import build_vgg, vgg_architecture
from secateur.tasks.classification.accuracy import class_scores
from secateur.tasks.detection.prediction import detect

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

# Architectures that reach every branch of the loader, and the shape of a picture to try each on.
NETWORKS = {
    "ssd300": (
        ssd_architecture("ssd300", ("a", "b"), widths=0.05, std=(0.3, 0.3, 0.3)),
        (300, 300),
    ),
    "two-layers": (
        ssd_architecture("ssd300", ("a",), size=96, detection_layers=2, widths={"conv6": 9}),
        (96, 96),
    ),
    "one-layer": (
        ssd_architecture("ssd300", ("a",), size=96, detection_layers=1, widths=0.05),
        (96, 96),
    ),
    "norm": (
        ssd_architecture(
            "ssd300",
            ("a", "b", "c"),
            size=128,
            batch_norm=True,
            detection_layers=4,
            widths=0.04,
            mean=(0.5, 0.4, 0.3),
            std=(0.2, 0.25, 0.3),
        ),
        (128, 128),
    ),
    "ssd512-native": (
        ssd_architecture(
            "ssd512", ("a",), resize=False, batch_norm=True, widths=0.04, std=(0.3, 0.3, 0.3)
        ),
        (320, 416),
    ),
}

RUN_LOADER = """
import sys
from safetensors.torch import load_file, save_file
folder = sys.argv[1]
for name in sys.argv[2:]:
    ssd, classes = load(f"{folder}/{name}.safetensors")
    with torch.no_grad():
        found = ssd([load_file(f"{folder}/{name}.picture")["picture"] / 255])[0]
    save_file(found, f"{folder}/{name}.found", {"classes": " ".join(classes)})
"""


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


def test_every_dependency_has_its_row() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = {re.split(r"[^\w.-]", each)[0] for each in sum(extras, project["dependencies"])}
    rows = re.findall(r"^\| ([\w-]+) \|", (DOCS / "dependencies.md").read_text("utf-8"), re.M)
    assert set(rows) - {"package", "part"} == wanted - {"secateur"}


def test_loader_finds_the_same_without_secateur(tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = {}
    for name, (architecture, shape) in NETWORKS.items():
        ssd = build_ssd(architecture)
        _stir(ssd)
        save_network(tmp_path / f"{name}.safetensors", ssd, architecture, {"step": "test"})
        picture = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
        save_file({"picture": picture}, tmp_path / f"{name}.picture")
        with torch.no_grad():
            network = load_network(tmp_path / f"{name}.safetensors").model
            expected[name] = detect(network, picture[None])[0]

    loader = re.findall(r"```python\n(.*?)```", (DOCS / "loading.md").read_text("utf-8"), re.S)[0]
    assert "secateur" not in re.sub(r'"secateur"', "", loader)
    script = tmp_path / "loader.py"
    script.write_text(f"import sys\nsys.modules['secateur'] = None\n{loader}\n{RUN_LOADER}")
    subprocess.run(
        [sys.executable, "-I", str(script), str(tmp_path), *NETWORKS],
        check=True,
        timeout=300,
    )

    for name, ours in expected.items():
        found = load_file(tmp_path / f"{name}.found")
        assert len(ours.boxes) > 0, name
        torch.testing.assert_close(found["boxes"], ours.boxes)
        torch.testing.assert_close(found["scores"], ours.scores)
        assert found["labels"].tolist() == ours.labels.tolist(), name


def test_classifier_loader_answers_the_same_without_secateur(tmp_path: Path) -> None:
    torch.manual_seed(0)
    networks = {
        "cifar": vgg_architecture(("a", "b", "c"), size=32, widths=0.1, hidden=(300,), pool=1),
        "torchvision": vgg_architecture(("a", "b"), size=64, batch_norm=False, widths=0.02),
        "plain": vgg_architecture(("a", "b"), size=64, widths={"conv5_3": 9}, hidden=(), pool=2),
    }
    expected = {}
    for name, architecture in networks.items():
        vgg = build_vgg(architecture)
        save_network(tmp_path / f"{name}.safetensors", vgg, architecture, {"step": "test"})
        side = architecture.size
        picture = torch.randint(0, 256, (3, side, side), dtype=torch.uint8)
        save_file({"picture": picture}, tmp_path / f"{name}.picture")
        expected[name] = class_scores(
            load_network(tmp_path / f"{name}.safetensors").model,
            picture[None],
            mean=architecture.mean,
            std=architecture.std,
            batch_size=1,
        )[0]
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "loading.md").read_text("utf-8"), re.S)
    loader, use = blocks[2:4]
    assert "secateur" not in re.sub(r'"secateur"', "", loader)
    imports, _, answer = use.partition("\n\n")
    answer = answer.partition("with torch")[2].rpartition("\n")[0].rpartition("\n")[0]
    script = tmp_path / "loader.py"
    script.write_text(
        f"import sys\nsys.modules['secateur'] = None\n{loader}\n{imports}\n"
        "from safetensors.torch import load_file, save_file\n"
        "for name in sys.argv[2:]:\n"
        "    vgg, a = load(f'{sys.argv[1]}/{name}.safetensors')\n"
        "    picture = load_file(f'{sys.argv[1]}/{name}.picture')['picture']\n"
        f"    with torch{answer.replace(chr(10), chr(10) + '    ')}\n"
        "    save_file({'scores': scores}, f'{sys.argv[1]}/{name}.scores')\n"
    )
    subprocess.run(
        [sys.executable, "-I", str(script), str(tmp_path), *networks], check=True, timeout=300
    )
    for name, ours in expected.items():
        torch.testing.assert_close(load_file(tmp_path / f"{name}.scores")["scores"], ours)


def _stir(ssd: SSD) -> None:
    """Give biases, norms and heads values that no two layers share."""
    for name, tensor in ssd.state_dict().items():
        if name.endswith("running_var"):
            nn.init.uniform_(tensor, 0.5, 1.5)
        elif name.endswith("scale_weight"):
            nn.init.uniform_(tensor, 10, 30)
        elif name.startswith("head.") and tensor.dim() > 1:
            nn.init.normal_(tensor, 0, 0.02)  # small: scores that are all 1 have no order
        elif name.endswith(("bias", "running_mean")):
            nn.init.normal_(tensor, 0, 0.2)


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/guarantees.md"])
def test_what_is_promised_names_tests_that_are_there(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / page).read_text("utf-8")))
    sources = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    there = {name for source in sources for name in re.findall(r"def (test_\w+)\(", source)}
    assert named
    assert named <= there
