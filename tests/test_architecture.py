"""The rooms of the package: which may import which, and that what is public is described."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "secateur"
MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))

# A room imports from rooms of the lines above its own.
RANKS = (
    ("errors",),
    ("distributed",),
    ("files",),
    ("data", "models"),
    ("runtimes",),
    ("pruning",),
    ("config", "training"),
    ("tasks",),
    ("run", "inference"),
    ("export",),
    ("benchmark",),
    ("report",),
    ("experiments",),
    ("cli",),
)
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}
# Modules at the top; everything else has a room.
TOP = {"__init__.py", "__main__.py", "errors.py"}


def imported(module: str) -> set[str]:
    """Paths, from the top of the package, of the modules that one names in any import."""
    names = set()
    tree = ast.parse((SOURCE / module).read_text("utf-8"))
    # Imports for types alone do not run.
    tree.body = [node for node in tree.body if not _is_for_types(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module is not None and f"{node.module}.".startswith("secateur."):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.name for a in node.names if a.name.startswith("secateur.")}
    return {path for name in names if (path := _module(name)) is not None}


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _module(name: str) -> str | None:
    """The file of a dotted name: a module, or what is defined in one."""
    path = "/".join(name.split(".")[1:])
    for candidate in (f"{path}.py", f"{path}/__init__.py", f"{path.rpartition('/')[0]}.py"):
        if candidate in MODULES:
            return candidate
    package = f"{path.rpartition('/')[0]}/__init__.py".lstrip("/")
    return package if package in MODULES and package != "__init__.py" else None


def _room(module: str) -> str:
    return module.removesuffix(".py").split("/")[0]


def test_top_of_the_package_has_no_other_modules() -> None:
    assert {m for m in MODULES if "/" not in m} == TOP, "put a new module into a room"
    assert {_room(m) for m in MODULES if "/" in m} | {"errors"} == RANK.keys()


@pytest.mark.parametrize("module", [m for m in MODULES if m not in ("__init__.py", "__main__.py")])
def test_rooms_import_from_earlier_ones(module: str) -> None:
    room = _room(module)
    others = {_room(other) for other in imported(module)} - {room}
    wrong = sorted(name for name in others if RANK[name] >= RANK[room])
    assert not wrong, f"{module} imports {', '.join(wrong)}, which come later"


def test_no_cycles() -> None:
    graph = {module: imported(module) - {module} for module in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def test_pruning_knows_nothing_of_detection() -> None:
    known = {"errors", "files", "pruning", "runtimes", "models"}
    of_models = {"copying", "cost", "example_inputs", "modes", "raw_parts", "shapes", "module_file"}
    for path in (SOURCE / "pruning").rglob("*.py"):
        names = imported(path.relative_to(SOURCE).as_posix())
        assert {_room(name) for name in names} <= known, path.name
        assert {Path(n).stem for n in names if _room(n) == "models"} <= of_models, path.name


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_has_a_docstring(module: str) -> None:
    tree = ast.parse((SOURCE / module).read_text("utf-8"))
    documented = [tree] if tree.body else []
    documented += [
        n
        for n in tree.body
        if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")
    ]
    for node in documented:
        words = (ast.get_docstring(node) or "").split()
        name = getattr(node, "name", module)
        assert len(words) >= 3, f"{name}: say what it is in a sentence"
