"""Imports go one way, and what is public is described."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "secateur"
MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))

# A module may import from its own line and those above.
ORDER = (
    ("errors", "extras", "place", "plain_yaml", "progress", "stops", "whole_file", "alone"),
    ("recipe",),
    ("data", "models"),
    ("pruning",),
    ("cuda_graph", "training_log", "training_state"),
    ("training",),
    ("tasks",),
    ("growing_validation", "measuring"),
    ("compression",),
    ("runtimes",),
    ("answer_file", "mishaps", "run_folder", "phases", "width_steps"),
    ("processes",),
    ("run",),
    ("selecting", "validating"),
    ("removing",),
    ("examples", "steps"),
    ("pipeline",),
    ("drawing", "layers", "video"),
    ("picture_files",),
    ("init_classifier",),
    ("detecting", "duration", "evaluation", "init_recipe", "planning"),
    ("exporting",),
    ("benchmarking",),
    ("report",),
    ("comparing",),
    ("sweeping",),
    ("console",),
    ("cli",),
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


def imported(tree: ast.Module) -> set[str]:
    """Rooms of the package that a module names in any import, wherever it stands."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "secateur":
                names |= {alias.name for alias in node.names}
            elif node.module is not None and node.module.startswith("secateur."):
                names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("secateur.")}
    return names


@pytest.mark.parametrize("module", [m for m in MODULES if m not in ("__init__.py", "__main__.py")])
def test_imports_go_one_way(module: str) -> None:
    room = module.removesuffix(".py").split("/")[0]
    assert room in RANK, f"give {room} a place in ORDER"
    rooms = imported(ast.parse((SOURCE / module).read_text("utf-8")))
    back = sorted(name for name in rooms & RANK.keys() if RANK[name] > RANK[room])
    assert not back, f"{module} imports {', '.join(back)}, which stands later"


def test_pruning_knows_nothing_of_detection() -> None:
    known = {"errors", "extras", "pruning"}
    for path in (SOURCE / "pruning").glob("*.py"):
        assert imported(ast.parse(path.read_text("utf-8"))) <= known, path.name


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_has_a_docstring(module: str) -> None:
    tree = ast.parse((SOURCE / module).read_text("utf-8"))
    bare = [] if ast.get_docstring(tree) else ["the module"]
    public = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    bare += [n.name for n in public if n.name[0] != "_" and not ast.get_docstring(n)]
    assert not bare
