"""The examples run, and do what they are there to show."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import secateur

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    ("name", "keep_macs", "options"),
    [
        ("own_model", 0.2, ["-W", "error"]),
        ("lightning_callback", 0.3, []),  # Lightning's trainer warns of what is meant here
    ],
)
def test_example(name: str, keep_macs: float, options: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *options, str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert "phase 1 of 1" in done.stdout
    with safe_open(tmp_path / "slim.safetensors", "pt") as file:
        sizes = json.loads(file.metadata()["secateur"])["provenance"]
    assert sizes["slim"]["macs"] <= keep_macs * sizes["dense"]["macs"]
    assert sizes["dense"]["metric"] > 90
    assert sizes["slim"]["metric"] > sizes["dense"]["metric"] - 5
    # The file loads into a fresh network of the script's class, which is as good as was said.
    script = runpy.run_path(str(EXAMPLES / "own_model.py"))
    torch.set_num_threads(1)
    slim = secateur.shrink_to(script["build"](), tmp_path / "slim.safetensors")
    assert script["evaluate"](slim) == pytest.approx(sizes["slim"]["metric"], abs=0.5)


def test_own_model_is_short_and_marks_what_was_added() -> None:
    lines = (EXAMPLES / "own_model.py").read_text("utf-8").splitlines()
    assert len(lines) < 60
    assert all("added" in line for line in lines if "secateur.compress" in line)
    assert all("added" in line for line in lines if "attach" in line or "import secateur" in line)
