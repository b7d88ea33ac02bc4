"""``secateur detect``."""

import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from tiny_detector import tiny, write_network

from commands import Outcome, one_error


def test_detect_draws_and_lists(
    secateur: Callable[..., Outcome], model: Path, voc: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out [1]"
    other = tmp_path / "other.ppm"
    Image.new("RGB", (50, 70), "white").save(other)
    arguments = ("detect", model, voc / "JPEGImages", other, "--out", out, "--score", 0.3)
    outcome = secateur(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    listed = json.loads(outcome.out)
    assert listed == json.loads((out / "detections.json").read_text("utf-8"))
    assert len(listed) == 11
    objects = listed[str(other)]
    assert objects, "an untrained network is unsure, and finds something at 0.3"
    assert set(objects[0]) == {"class", "score", "box"}
    assert objects[0]["class"] in ("dog", "cat")
    scores = [each["score"] for each in objects]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] >= 0.3
    with Image.open(out / "other.png") as drawn:
        assert drawn.size == (50, 70)
        assert len(drawn.getcolors(10_000) or ()) > 1
    assert (out / "p3.jpg").is_file()

    table = secateur(*arguments)
    assert str(voc / "JPEGImages/p3.jpg") in table.out
    assert f"drawn on copies in {out}\n" in table.out


def test_detect_never_replaces_a_picture(
    secateur: Callable[..., Outcome], model: Path, voc: Path, tmp_path: Path
) -> None:
    pictures = voc / "JPEGImages"
    one_error(secateur("detect", model, pictures, "--out", pictures), pictures / "p0.jpg")
    twin = tmp_path / "p0.jpg"
    Image.new("RGB", (50, 70)).save(twin)
    outcome = secateur("detect", model, pictures, twin, "--out", tmp_path / "out")
    one_error(outcome, twin, "would replace")


def test_detect_names_what_it_cannot_read(
    secateur: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    one_error(secateur("detect", model, tmp_path / "[no].jpg", "--out", out), "[no].jpg")
    broken = tmp_path / "broken.jpg"
    broken.write_text("no picture")
    one_error(secateur("detect", model, broken, "--out", out), broken)
    (tmp_path / "empty").mkdir()
    one_error(secateur("detect", model, tmp_path / "empty", "--out", out), tmp_path / "empty")


def test_too_small_a_picture_at_native_size(
    secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    native = tiny(0.03).model_copy(update={"resize": False})
    model = write_network(tmp_path / "native.safetensors", native)
    small = tmp_path / "small.png"
    Image.new("RGB", (90, 7)).save(small)
    one_error(secateur("detect", model, small, "--out", tmp_path / "out"), small, "90 by 7")
