"""The commands export, evaluate and detect with exported files and annotated pictures."""

import json
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import ExifTags, Image
from torch import nn

from commands import Outcome, one_error
from secateur.config.evaluate import Evaluate
from secateur.data.video import video_copy
from secateur.export import verification
from secateur.inference.evaluate import Evaluation
from secateur.inference.predictor import open_predictor
from secateur.models.network import build_network
from secateur.models.network_file import save_network
from secateur.models.ssd import ssd_architecture
from secateur.models.vgg import vgg_architecture

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: a network, its recipe, and the annotated pictures that the recipe names."""
    root = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 3)):
        (root / f"data/images/{split}").mkdir(parents=True)
        (root / f"data/labels/{split}").mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"data/images/{split}/{number}.png")
            label = root / f"data/labels/{split}/{number}.txt"
            label.write_text(f"{number % 2} 0.5 0.5 0.3 0.4\n")
    (root / "data/classes.txt").write_text("dog\ncat\n")
    steps = {"steps": 1, "batch_size": 1}
    recipe = {
        "name": "tiny",
        "data": {"format": "yolo", "root": str(root / "data"), "validation": 0.5},
        "model": {"size": 64, "widths": 0.06, "batch_norm": True, "detection_layers": 2},
        "train": steps,
        "compress": {
            "phases": [{"layers": "conv1_1-conv7"}],
            "sparsify": steps,
            "select": {"keep_macs": 0.5},
            "retrain": steps,
        },
    }
    (root / "recipe.json").write_text(json.dumps(recipe))
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    torch.manual_seed(0)
    made = ssd_architecture(
        "ssd300", ("dog", "cat"), size=64, widths=0.06, batch_norm=True, detection_layers=2
    )
    model = build_network(made)
    for layer in model.get_submodule("head").modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.1)  # so that boxes differ in score and place
    save_network(root / "slim.safetensors", model, made, {"run": "tiny"})
    return root


@pytest.mark.parametrize(("kind", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml")])
def test_eight_bits_are_calibrated_measured_and_run(
    kind: str, suffix: str, folder: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    out = tmp_path / f"slim{suffix}"
    model = folder / "slim.safetensors"
    options = ("--format", kind, "--precision", "int8", "--out", out, "--max-drop", 100)
    outcome = secateur("export", model, *options)
    assert outcome.code == 0, outcome.err
    assert f"6 pictures of validation of {folder / 'recipe.json'}" in outcome.out
    report = json.loads(out.with_name(f"slim{suffix}.json").read_text("utf-8"))
    assert report["metric"] == "AP50_area"
    assert report["before"] is not None
    assert report["after"] is not None
    assert report["agreement"] is None
    # A weight takes 1 byte instead of 4; the graph adds to that, and the network is small.
    assert report["bytes"] < model.stat().st_size

    outcome = secateur("evaluate", out, "--data", folder / "recipe.yaml", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["pictures"] == 3

    picture = folder / "data/images/test/0.png"
    found = []
    for file in (model, out):
        arguments = ("detect", file, picture, "--out", tmp_path / "found", "--score", 0.2, "--json")
        outcome = secateur(*arguments)
        assert outcome.code == 0, outcome.err
        found.append(json.loads(outcome.out)[str(picture)])
    # Each of the best objects has one of the same class and place in the other list.
    ours, theirs = found
    assert ours[0]["score"] > ours[-1]["score"] + 0.2
    for each in ours[:20]:
        alike = [
            abs(other["score"] - each["score"])
            for other in theirs
            if other["class"] == each["class"]
            and np.abs(np.subtract(other["box"], each["box"])).max() < 8
        ]
        assert min(alike) < 0.1, each


def test_a_video(folder: Path, secateur: Callable[..., Outcome], tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    with video_copy(clip, Fraction(5)) as writer:
        for number in range(3):
            writer.write(Image.new("RGB", (90, 70), (80 * number, 90, 60)))
    out = tmp_path / "found"
    arguments = ("detect", folder / "slim.safetensors", clip, "--out", out, "--score", 0.3)
    outcome = secateur(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    listed = json.loads(outcome.out)[str(clip)]
    assert {each["frame"] for each in listed} == {0, 1, 2}
    assert {each["time"] for each in listed} == {0, 0.2, 0.4}
    assert (out / "clip.mp4").stat().st_size > 1000
    outcome = secateur(*arguments[:3], "--out", tmp_path)
    one_error(outcome, "would be overwritten")


def test_too_large_a_loss_leaves_nothing(
    folder: Path,
    secateur: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = iter([90.0, 88.9])

    def measured(*_: object) -> Evaluation:
        return Evaluation("validation", 6, {"AP50_area": next(values)}, {})

    monkeypatch.setattr(verification, "evaluate_predictor", measured)
    out = tmp_path / "new" / "slim.onnx"
    arguments = ("export", folder / "slim.safetensors", "--precision", "int8", "--out", out)
    outcome = secateur(*arguments)
    one_error(outcome, "AP50_area on validation is 88.90 with int8 and 90.00 without")
    assert not list(out.parent.iterdir())


def test_errors_are_one_line(
    folder: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    model = folder / "slim.safetensors"
    other = tmp_path / "[other].onnx"
    other.write_text("no network")
    for words, *arguments in (
        ("no such network file", "export", tmp_path / "none.safetensors"),
        ("--shape", "export", model, "--shape", "90x90"),
        ("ends in .onnx", "export", model, "--out", tmp_path / "a.xml"),
        (".: ", "export", "."),
        ("torchvision:", "export", "torchvision:"),
        ("[other].onnx: ONNX Runtime cannot load it", "evaluate", other, "--data", folder),
        ("[other].onnx", "detect", other, folder / "data/images/test", "--out", tmp_path / "o"),
    ):
        outcome = secateur(*arguments)
        one_error(outcome, words)


def test_a_run_whose_pictures_are_missing(
    folder: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    """Its network can still be exported, but not with 8 bits."""
    model = tmp_path / "slim.safetensors"
    model.write_bytes((folder / "slim.safetensors").read_bytes())
    recipe = json.loads((folder / "recipe.json").read_text("utf-8"))
    recipe["data"]["root"] = str(tmp_path / "gone")
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    outcome = secateur("export", model)
    assert outcome.code == 0, outcome.err
    assert "16 drawn pictures (those of" in outcome.out
    assert str(tmp_path / "gone") in outcome.out
    outcome = secateur("export", model, "--precision", "int8")
    one_error(outcome, "give them with --data", tmp_path / "gone")


def test_a_classifier_with_eight_bits(secateur: Callable[..., Outcome], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(8):
        place = tmp_path / f"data/train/{'ab'[number % 2]}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    torch.manual_seed(0)
    made = vgg_architecture(("a", "b"), size=32, widths=0.06, hidden=(16,), pool=1)
    model = tmp_path / "slim.safetensors"
    save_network(model, build_network(made), made, {})
    options = ("--precision", "int8", "--data", tmp_path / "data", "--max-drop", 100)
    outcome = secateur("export", model, *options)
    assert outcome.code == 0, outcome.err
    assert "top1 after" in outcome.out
    out = tmp_path / "slim.int8.onnx"
    outcome = secateur("evaluate", out, "--data", tmp_path / "data", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["pictures"] == 8


def test_the_example_needs_three_packages_only(
    folder: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    """It runs in an environment with nothing else, and finds the same objects."""
    script = ROOT / "examples" / "detect_onnx.py"
    assert len(script.read_text("utf-8").splitlines()) <= 40
    model, out = folder / "slim.safetensors", tmp_path / "slim.onnx"
    assert secateur("export", model, "--out", out).code == 0
    environment = tmp_path / "clean"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    packages = ["onnxruntime", "numpy", "pillow"]
    command = [python, "-m", "pip", "install", "-q", "-c", constraints, *packages]
    installed = subprocess.run(command, check=False, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"no package index at hand: {installed.stderr.strip()}")
    listing = [python, "-m", "pip", "list"]
    listed = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    assert "torch" not in listed
    assert "secateur" not in listed
    picture = tmp_path / "1.jpg"
    with Image.open(folder / "data/images/test/1.png") as upright:
        lying = Image.Exif()
        lying[ExifTags.Base.Orientation] = 6  # the camera was turned
        upright.rotate(90, expand=True).save(picture, exif=lying, quality=95)
    done = subprocess.run(
        [python, "-W", "error", script, out, picture],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    with Image.open(tmp_path / "found" / "1.png") as drawn:
        assert drawn.size == (90, 70)
    arguments = ("detect", model, picture, "--out", tmp_path / "ours", "--score", 0.4, "--json")
    ours = json.loads(secateur(*arguments).out)[str(picture)]
    assert ours
    # Pillow resizes as torchvision does, except for rounding.
    assert abs(len(ours) - len(theirs)) <= 0.1 * len(ours)
    one, other = ours[0], theirs[0]
    assert one["class"] == other["class"]
    np.testing.assert_allclose(one["score"], other["score"], atol=0.01)


def test_a_video_of_another_size_than_the_file_takes(
    secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    made = ssd_architecture(
        "ssd300", ("dog",), size=64, widths=0.06, detection_layers=2, resize=False
    )
    save_network(tmp_path / "slim.safetensors", build_network(made), made, {})
    out = tmp_path / "slim.onnx"
    assert secateur("export", tmp_path / "slim.safetensors", "--shape", "70x90").code == 0
    clip = tmp_path / "clip.mp4"
    with video_copy(clip, Fraction(5)) as writer:
        writer.write(Image.new("RGB", (92, 70)))
    outcome = secateur("detect", out, clip, "--out", tmp_path / "found")
    one_error(outcome, clip, "is 92 by 70 pixels", "takes 90 by 70 only")
    assert not list((tmp_path / "found").iterdir())


def test_a_split_that_is_named_is_not_replaced(
    folder: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    one_error(secateur("export", folder / "slim.safetensors", "--split", "nope"), "nope")
    alone = tmp_path / "slim.safetensors"
    alone.write_bytes((folder / "slim.safetensors").read_bytes())
    one_error(secateur("export", alone, "--split", "test"), "--split test", "--data")


def test_an_export_is_verified_on_the_cpu(
    folder: Path,
    secateur: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An accelerator rounds differently, so its predictions differ."""

    def none() -> torch.device:
        raise AssertionError("an accelerator was asked for")

    monkeypatch.setattr("secateur.inference.predictor.best_device", none)
    out = tmp_path / "a.onnx"
    outcome = secateur("export", folder / "slim.safetensors", "--out", out)
    assert outcome.code == 0, outcome.err
    made = vgg_architecture(("a", "b"), size=32, widths=0.06, hidden=(16,), pool=1)
    model = tmp_path / "classifier.safetensors"
    save_network(model, build_network(made), made, {})
    outcome = secateur("export", model)
    assert outcome.code == 0, outcome.err


def test_eight_bits_of_one_shape_are_measured_on_pictures_of_that_shape(
    secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / f"data/{folder}/train").mkdir(parents=True)
    (tmp_path / "data/classes.txt").write_text("dog\n")
    for number in range(6):
        shape = (70, 90, 3) if number < 4 else (90, 70, 3)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"data/images/train/{number}.png")
        label = tmp_path / f"data/labels/train/{number}.txt"
        label.write_text("0 0.5 0.5 0.3 0.4\n")
    torch.manual_seed(0)
    made = ssd_architecture(
        "ssd300", ("dog",), size=64, widths=0.06, detection_layers=2, resize=False
    )
    model = tmp_path / "slim.safetensors"
    save_network(model, build_network(made), made, {})
    options = ("--precision", "int8", "--max-drop", 100, "--data", tmp_path / "data")
    outcome = secateur("export", model, "--shape", "70x90", *options)
    assert outcome.code == 0, outcome.err
    assert "4 pictures of train" in outcome.out
    assert "those of 70x90" in outcome.out


def test_a_place_below_a_file(
    folder: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    place = tmp_path / "file"
    place.touch()
    model, picture = folder / "slim.safetensors", folder / "data/images/test/0.png"
    for arguments in (("detect", model, picture, "--out"), ("export", model, "--out")):
        target = place / "a.onnx" if arguments[0] == "export" else place
        one_error(secateur(*arguments, target), place, "cannot be written")


def test_no_output_replaces_an_input(
    folder: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    model, recipe = tmp_path / "slim.safetensors", tmp_path / "recipe.yaml"
    for file in (model, recipe):
        file.write_bytes((folder / file.name).read_bytes())
    (tmp_path / "link.safetensors").symlink_to(model)
    (tmp_path / "same.safetensors").hardlink_to(model)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("slim", "link", "same"):
        out = tmp_path / f"{name}.safetensors"
        for command in (("export", model, "--format", "torch"), ("benchmark", model)):
            one_error(secateur(*command, "--out", out), f"{out}: is read by this command and would")
    measured = secateur("benchmark", model, "--data", recipe, "--out", recipe)
    one_error(measured, f"{recipe}: is read by this command and would be replaced")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


# An export that waits where it would be verified.
WAITING = """
import sys, time
from pathlib import Path
from secateur.cli.main import main
from secateur.export import export

def wait(*_, **__):
    Path(sys.argv[1]).touch()
    time.sleep(60)

export.open_predictor = wait
main(["export", sys.argv[2]])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_export_leaves_nothing(
    number: signal.Signals, folder: Path, tmp_path: Path
) -> None:
    place, waits = tmp_path / "place", tmp_path / "waits"
    place.mkdir()
    model = place / "slim.safetensors"
    model.write_bytes((folder / "slim.safetensors").read_bytes())
    # Background jobs of a shell ignore Ctrl-C, and child processes inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", WAITING, waits, model],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    while not waits.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    assert {path.name for path in place.glob(".export-*/*")} == {"slim.onnx"}
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert error.splitlines()[-1] == "stopped"
    assert list(place.iterdir()) == [model]


@pytest.mark.parametrize("there", [True, False])
def test_an_export_keeps_the_recipes_scores_and_nms_whatever_it_is_verified_on(
    there: bool, folder: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    model = tmp_path / "slim.safetensors"
    model.write_bytes((folder / "slim.safetensors").read_bytes())
    recipe = json.loads((folder / "recipe.json").read_text("utf-8"))
    recipe["evaluate"] = {"score": 0.2, "boxes": 50}
    data = folder / "data"
    if not there:  # as on another machine
        recipe["data"]["root"] = str(tmp_path / "nowhere")
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    options = ("--data", data) if there else ()
    outcome = secateur("export", model, "--out", tmp_path / "slim.onnx", *options)
    assert outcome.code == 0, outcome.err
    predictor = open_predictor(tmp_path / "slim.onnx", settings=Evaluate(score=0.0))
    torch.manual_seed(0)
    (found,) = predictor.detect(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    assert 0 < len(found.scores) <= 50
    assert float(found.scores.min()) >= 0.2 - 1e-4
    assert "at most 50 per picture, with scores above 0.2" in " ".join(outcome.out.split())
    if there:
        # The file's threshold is that of the recipe in its folder; the other recipe's is lower.
        own = secateur("evaluate", tmp_path / "slim.onnx")
        assert (own.code, "note:" in own.out) == (0, False), own.err
        other = secateur("evaluate", tmp_path / "slim.onnx", "--data", folder / "recipe.yaml")
        assert "note: this file drops detections with a score below 0.2" in " ".join(
            other.out.split()
        )


def test_evaluate_needs_pictures(secateur: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "a.onnx").touch()
    one_error(secateur("evaluate", tmp_path / "a.onnx"), "is not in a run folder", "--data")


def test_eight_bits_that_cannot_be_measured_are_refused(
    folder: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    for part in ("images", "labels"):
        (tmp_path / f"data/{part}/train").mkdir(parents=True)
    Image.new("RGB", (90, 70)).save(tmp_path / "data/images/train/a.png")
    (tmp_path / "data/classes.txt").write_text("dog\ncat\n")
    command = ("export", folder / "slim.safetensors", "--precision", "int8")
    out = tmp_path / "slim.onnx"
    outcome = secateur(*command, "--data", tmp_path / "data", "--out", out)
    one_error(outcome, "train has no object to measure AP50_area with")
    assert not out.exists()
