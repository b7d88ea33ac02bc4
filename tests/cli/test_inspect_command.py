"""``secateur inspect``."""

from collections.abc import Callable
from pathlib import Path

from tiny_detector import row, tiny, write_network
from torch import nn

from commands import Outcome, one_error
from secateur.models.module_file import save
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


def test_what_to_do_with_an_exported_file_and_one_of_a_custom_class(
    secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    exported = tmp_path / "net.onnx"
    exported.write_bytes(b"\x08\x08")
    one_error(secateur("inspect", exported), exported, "give the .safetensors file of the network")
    custom = tmp_path / "net.safetensors"
    save(custom, nn.Conv2d(3, 4, 1))
    for command, *options in (
        ("inspect",),
        ("export",),
        ("detect", tmp_path, "--out", tmp_path / "found"),
        ("evaluate", "--data", tmp_path),
    ):
        outcome = secateur(command, custom, *options)
        one_error(outcome, custom, "secateur.shrink_to(model, path)", "export_model")
