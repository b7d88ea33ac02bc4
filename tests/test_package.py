"""The wheel and the source archive: what they contain, and that they need no checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "secateur"
# Everything in the source tree that is not made by Python itself.
FILES = {
    path.relative_to(SOURCE.parent).as_posix()
    for path in SOURCE.rglob("*")
    if path.is_file() and path.suffix != ".pyc"
}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source archive; the wheel is built from the latter.

    They are built from a copy, because a build writes next to the sources.
    """
    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("src", "tests", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    built = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", built, copy, folder=built)
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    return wheel, source


def run(*command: object, folder: Path) -> str:
    """Run a command without the checkout on Python's path; return what it prints."""
    environment = {n: v for n, v in os.environ.items() if n not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(each) for each in command],
        cwd=folder,
        env=environment | {"COLUMNS": "200"},
        check=False,  # the assertion shows what was printed
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_contains_the_package_and_nothing_else(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[0]) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
    package = {name for name in names if ".dist-info/" not in name}
    assert package == FILES
    for name in ("config/recipes/quickstart.yaml", "report/templates/run.html.jinja", "py.typed"):
        assert f"secateur/{name}" in package
    about = {PurePosixPath(name).name for name in names - package}
    assert {"LICENSE", "METADATA", "entry_points.txt"} <= about


def test_source_archive_contains_what_a_build_needs(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[1]) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert {f"src/{name}" for name in FILES} <= names
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names
    assert not {name for name in names if name.startswith("docs/")}


def test_wheel_works_in_an_environment_of_its_own(
    archives: tuple[Path, Path], tmp_path: Path
) -> None:
    """The dependencies are those of this environment, which the new one reads last."""
    venv.create(tmp_path / "venv", symlinks=True)
    paths = sysconfig.get_paths("venv", {"base": str(tmp_path / "venv")})
    python = Path(paths["scripts"]) / "python"
    site = Path(paths["purelib"])
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"),
        *("--no-index", "--disable-pip-version-check", archives[0]),
        folder=tmp_path,
    )
    here = sysconfig.get_paths()
    (site / "dependencies.pth").write_text(f"{here['purelib']}\n{here['platlib']}\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    secateur = Path(paths["scripts"]) / "secateur"

    code = "import secateur, sys; print(secateur.__file__, secateur.__version__)"
    assert run(python, "-I", "-c", code, folder=empty).startswith(str(site / "secateur"))
    listed = run(secateur, "recipes", folder=empty)
    for recipe in (SOURCE / "config" / "recipes").glob("*.yaml"):
        assert recipe.stem in listed
    small = ("--set", "train.steps=100", "--set", "data.workers=0")
    plan = run(secateur, "compress", "quickstart", "--plan", *small, folder=empty)
    assert "conv1_1-conv9_2" in plan
    assert not (empty / "runs").exists()
