"""``secateur inspect``."""

from collections.abc import Callable
from pathlib import Path

from tiny_detector import row, tiny, write_network

from commands import Outcome, one_error
from secateur.models.network_file import load_network


def test_inspect_counts_the_whole_network(
    secateur: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    alone = secateur("inspect", model)
    assert alone.code == 0, alone.err
    params = sum(p.numel() for p in load_network(model).model.parameters())
    assert f"{params:,}" in row(alone.out, "total")
    assert "run: a [run]" in alone.out
    assert "→" not in alone.out

    write_network(tmp_path / "dense.safetensors", tiny(0.06))
    beside = secateur("inspect", model)
    # 2 filters of 3 × 3 × 3, their biases, and two entries of the norm each
    assert row(beside.out, "conv1_1")[:4] == ["conv1_1", "4 → 2", "60", "50.0%"]

    full = secateur("inspect", model, "--against", "full")
    assert "64 → 2" in full.out


def test_inspect_refuses_what_is_no_network(
    secateur: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "[wrong].safetensors"
    wrong.write_bytes(b"nothing")
    one_error(secateur("inspect", wrong), wrong, "not a safetensors file")
    one_error(secateur("inspect", model, "--against", tmp_path / "none"), tmp_path / "none")
