import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from commands import Outcome, one_error
from secateur.cli.console import complain
from secateur.cli.main import main
from secateur.config.recipe import load_recipe
from secateur.data.source import read_splits
from secateur.errors import LostError, RunError
from secateur.models.network_file import load_network, save_network
from secateur.models.ssd import SSDArchitecture, build_ssd, ssd_architecture
from secateur.models.vgg import build_vgg, vgg_architecture
from secateur.run import pipeline
from secateur.run.duration import measure_duration

COMMANDS = (
    "compress",
    "train",
    "evaluate",
    "inspect",
    "export",
    "benchmark",
    "detect",
    "compare",
    "scales",
    "sweep",
    "init",
)
SQUARE = "<bndbox><xmin>9</xmin><ymin>9</ymin><xmax>40</xmax><ymax>40</ymax></bndbox>"


def tiny(widths: float, classes: tuple[str, ...] = ("dog", "cat")) -> SSDArchitecture:
    return ssd_architecture(
        "ssd300", classes, size=64, widths=widths, batch_norm=True, detection_layers=2
    )


def write_network(path: Path, architecture: SSDArchitecture) -> Path:
    torch.manual_seed(0)
    save_network(path, build_ssd(architecture), architecture, {"run": "a [run]"})
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_network(tmp_path / "slim.safetensors", tiny(0.03))


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Eight pictures to train on and two to test on, each with a dog; one has a cat too."""
    root = tmp_path / "my [red]pictures[ red] :dog:"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    for split, names in (("train", range(8)), ("test", range(8, 10))):
        lines = "".join(f"p{name}\n" for name in names)
        (root / f"ImageSets/Main/{split}.txt").write_text(lines)
    for name in range(10):
        picture = Image.new("RGB", (80, 60), (20 * name, 90, 60))
        picture.save(root / f"JPEGImages/p{name}.jpg")
        cat = f"<object><name>cat</name>{SQUARE}</object>" if name == 0 else ""
        (root / f"Annotations/p{name}.xml").write_text(
            f"<annotation><object><name>dog</name>{SQUARE}</object>{cat}</annotation>"
        )
    return root


@pytest.fixture
def recipe(tmp_path: Path, voc: Path) -> Path:
    steps = {"steps": 2, "batch_size": 2, "lr": 0.001}
    content = {
        "name": "tiny",
        "data": {
            "format": "voc",
            "root": str(voc),
            "classes": ["dog", "cat"],
            "validation": 0.25,
            "workers": 0,
        },
        "model": {"size": 64, "widths": 0.06, "batch_norm": True, "detection_layers": 2},
        "train": steps,
        "compress": {
            "phases": [{"layers": "conv1_1-conv4_3"}, {"layers": "conv4_3-conv7"}],
            "sparsify": steps,
            "threshold": {"resolution": 0.5},
            "select": {"keep_macs": 0.5, "min_filters": 1},
            "retrain": steps,
        },
        "evaluate": {"batch_size": 4},
    }
    path = tmp_path / "tiny [draft].yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def row(table: str, name: str) -> list[str]:
    rows = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]
    return next(cells for cells in rows if cells[0] == name)


# ---- help and wrong use --------------------------------------------------------------------


def test_help_names_every_command(secateur: Callable[..., Outcome]) -> None:
    outcome = secateur("--help")
    assert outcome.code == 0
    assert all(command in outcome.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_an_example(secateur: Callable[..., Outcome], command: str) -> None:
    outcome = secateur(command, "--help")
    assert outcome.code == 0
    assert f"Example: secateur {command}" in outcome.out


def test_help_needs_no_torch() -> None:
    script = (
        "import sys, secateur.cli.main\n"
        "try: secateur.cli.main.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


def test_installed_command_tells_its_version() -> None:
    command = Path(sys.executable).with_name("secateur")
    done = subprocess.run([command, "--version"], check=True, capture_output=True, text=True)
    assert re.fullmatch(r"secateur \d+\.\d+\.\d+\n", done.stdout)


def test_unknown_option_is_wrong_use(secateur: Callable[..., Outcome]) -> None:
    outcome = secateur("inspect", "x", "--agains", "y")
    assert outcome.code == 2
    assert "--against" in outcome.err


def test_unknown_entry_names_the_nearest(secateur: Callable[..., Outcome], recipe: Path) -> None:
    outcome = secateur("compress", recipe, "--set", "train.step=3")
    one_error(outcome, recipe, "train.step", "did you mean steps?")


def test_missing_recipe(secateur: Callable[..., Outcome], tmp_path: Path) -> None:
    one_error(secateur("compress", tmp_path / "no [such].yaml"), tmp_path / "no [such].yaml")


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, recipe: Path) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline, "compress_recipe", fail)
    with pytest.raises(ZeroDivisionError):
        main(["compress", str(recipe)])


def test_interruption_tells_how_to_go_on(
    secateur: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, recipe: Path
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "compress_recipe", stop)
    outcome = secateur("compress", recipe)
    assert outcome.code == 130
    assert "same command again" in outcome.err


# ---- compress and train --------------------------------------------------------------------


def test_plan_says_what_would_happen(secateur: Callable[..., Outcome], recipe: Path) -> None:
    outcome = secateur("compress", recipe, "--plan")
    assert outcome.code == 0, outcome.err
    # 0.06 of 64, 64, 128, 128, 256, 256, 256, 512, 512: all of phase 1 but its last layer
    first = "phase 1, keep 50.0% of MACs; takes filters from conv1_1 (4), conv1_2 (4), conv2_1 (8)"
    assert first in outcome.out
    assert "conv4_2 (31)\n" in outcome.out
    # conv7 is the network's last layer, and loses filters too
    second = "phase 2, keep 50.0% of MACs; takes filters from conv4_3 (31), conv5_1 (31)"
    assert second in outcome.out
    assert "conv7 (61)\n" in outcome.out
    assert "never lose filters (the network's output): conv4_3 box" in outcome.out
    assert "note: 8 pictures in train, 2 of them for validation\n" in outcome.out
    took = r"training takes about \d+ \w+ for the dense network, and phase 1 \d+ \w+ and phase 2 \d"
    assert re.search(took, outcome.out)


def test_plan_tries_a_norm_on_a_map_of_one_cell(
    secateur: Callable[..., Outcome], recipe: Path
) -> None:
    changes = (
        *("model.size=64", "model.batch_norm=true", "model.detection_layers=4"),
        *("model.scales=null", "compress.phases=[{layers: conv1_1-conv9_2}]"),
    )
    options = [option for change in changes for option in ("--set", change)]
    outcome = secateur("compress", recipe, "--plan", *options)
    assert outcome.code == 0, outcome.err
    assert "training takes about" in outcome.out


def test_plan_counts_every_size_that_is_tried(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.run.duration._seconds_a_picture", lambda *_: (1.0, "a device"))
    loaded = load_recipe(recipe)
    pictures = read_splits(loaded.data, loaded.model.input_size, 0).train
    once = measure_duration(loaded, pictures)
    entries = ("compress.select={max_drop: 1, attempts: 3}",)
    tried = measure_duration(load_recipe(recipe, entries), pictures)
    _, sparsify, _, retrain = loaded.phase(1)
    sparsified, retrained = (each.steps * each.batch_size for each in (sparsify, retrain))
    assert once.phases[0] == sparsified + retrained
    assert tried.phases[0] == sparsified + 3 * retrained


def test_plan_names_layers_no_phase_prunes(secateur: Callable[..., Outcome], recipe: Path) -> None:
    change = "compress.phases=[{layers: conv1_1-conv4_3}]"
    outcome = secateur("compress", recipe, "--plan", "--set", change)
    assert "no phase takes filters from: conv4_3, conv5_1" in outcome.out


@pytest.mark.parametrize("options", [["--plan"], []])
def test_pictures_by_which_nothing_can_be_measured_are_refused_before_training(
    options: list[str],
    secateur: Callable[..., Outcome],
    recipe: Path,
    voc: Path,
    tmp_path: Path,
) -> None:
    run = ("compress", recipe, "--run", tmp_path / "run", *options)
    Image.new("RGB", (80, 6)).save(voc / "JPEGImages/p9.jpg")
    (voc / "Annotations/p9.xml").write_text("<annotation></annotation>")
    outcome = secateur(*run, "--set", "data.resize=false", "--set", "model.scales=null")
    one_error(outcome, "p9.jpg", "too few for this network")
    (voc / "Annotations/p8.xml").write_text("<annotation></annotation>")
    one_error(secateur(*run), voc, "no object is marked in the pictures for test", "null")
    assert not (tmp_path / "run/steps").exists()


@pytest.mark.parametrize("options", [["--plan"], []])
def test_budget_out_of_reach_is_refused_before_training(
    options: list[str], secateur: Callable[..., Outcome], recipe: Path, tmp_path: Path
) -> None:
    change = ["--set", "compress.select={keep_params: 0.001}"]
    outcome = secateur("compress", recipe, "--run", tmp_path / "run", *change, *options)
    one_error(outcome, "cannot come down to", "parameters")
    assert not (tmp_path / "run/steps").exists()


def test_compress_then_again_then_inspect(
    secateur: Callable[..., Outcome], recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run [1]"
    first = secateur("compress", recipe, "--run", run)
    assert first.code == 0, first.err
    assert f"the small network: {run / 'slim.safetensors'}\n" in first.out
    summary = json.loads((run / "summary.json").read_text())
    assert f"{summary['dense']['params']:,}" in first.out
    assert f"{summary['slim']['macs']:,}" in first.out

    again = secateur("compress", recipe, "--run", run)
    assert "dense: found" in again.out

    inspected = secateur("inspect", run / "slim.safetensors")
    assert inspected.code == 0, inspected.err
    assert f"{summary['slim']['params']:,}" in inspected.out
    assert f"{summary['slim']['macs'] / summary['dense']['macs']:.1%}" in inspected.out
    widths = summary["slim"]["widths"]
    assert f"61 → {widths['conv7']}" in inspected.out


def test_train_writes_the_dense_network(
    secateur: Callable[..., Outcome], recipe: Path, tmp_path: Path
) -> None:
    outcome = secateur("train", recipe, "--run", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    file = load_network(tmp_path / "run/dense.safetensors")
    assert file.provenance["role"] == "dense"
    assert file.architecture.classes == ("dog", "cat")
    assert json.loads((tmp_path / "run/steps.json").read_text()) == {"steps": ["dense"]}


# ---- inspect -------------------------------------------------------------------------------


def test_inspect_counts_the_whole_network(
    secateur: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    alone = secateur("inspect", model)
    assert alone.code == 0, alone.err
    params = sum(p.numel() for p in load_network(model).model.parameters())
    assert f"{params:,}" in row(alone.out, "together")
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


# ---- detect --------------------------------------------------------------------------------


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


# ---- evaluate ------------------------------------------------------------------------------


def test_evaluate_a_folder_and_a_recipe(
    secateur: Callable[..., Outcome], model: Path, voc: Path, recipe: Path
) -> None:
    outcome = secateur("evaluate", model, "--data", voc, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    found = json.loads(outcome.out)
    assert (found["split"], found["pictures"]) == ("test", 2)
    assert found["by_class"]["dog"]["objects"] == 2
    assert found["by_class"]["cat"] == {"objects": 0, "AP50_area": None, "AP50_voc07": None}
    assert {"AP50_area", "AP50_voc07", "AP_coco"} <= set(found["metrics"])

    table = secateur("evaluate", model, "--data", recipe, "--split", "validation")
    assert table.code == 0, table.err
    assert "2 pictures of validation" in table.out
    assert "dog" in table.out


def test_evaluate_refuses_other_classes(
    secateur: Callable[..., Outcome], recipe: Path, tmp_path: Path
) -> None:
    model = write_network(tmp_path / "other.safetensors", tiny(0.03, ("dog", "bird")))
    outcome = secateur("evaluate", model, "--data", recipe)
    one_error(outcome, model, "the data add cat", "the data lack bird")


def _remove_picture(voc: Path) -> Path:
    path = voc / "JPEGImages/p9.jpg"
    path.unlink()
    return path


def _move_box_out(voc: Path) -> Path:
    path = voc / "Annotations/p9.xml"
    path.write_text(path.read_text().replace("<xmax>40", "<xmax>400"))
    return path


def _name_unknown_class(voc: Path) -> Path:
    path = voc / "Annotations/p9.xml"
    path.write_text(path.read_text().replace("dog", "unicorn"))
    return path


def _break_xml(voc: Path) -> Path:
    path = voc / "Annotations/p9.xml"
    path.write_text("<annotation>")
    return path


def _empty_list(voc: Path) -> Path:
    path = voc / "ImageSets/Main/test.txt"
    path.write_text("")
    return path


@pytest.mark.parametrize(
    "spoil", [_remove_picture, _move_box_out, _name_unknown_class, _break_xml, _empty_list]
)
def test_evaluate_names_the_wrong_file(
    secateur: Callable[..., Outcome], model: Path, voc: Path, spoil: Callable[[Path], Path]
) -> None:
    path = spoil(voc)
    one_error(secateur("evaluate", model, "--data", voc), path)


def test_errors_of_the_real_command(model: Path, voc: Path) -> None:
    path = _break_xml(voc)
    command = Path(sys.executable).with_name("secateur")
    done = subprocess.run(
        [command, "evaluate", model, "--data", voc],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    one_error(Outcome(done.returncode, done.stdout, done.stderr), path)


def test_evaluate_without_data(
    secateur: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    one_error(secateur("evaluate", model, "--data", tmp_path / "none"), "data folder not found")
    one_error(secateur("evaluate", model, "--data", tmp_path / "n.yaml"), "no such recipe")


def test_evaluate_a_detector_on_class_folders(
    secateur: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    for split in ("train", "val"):
        (tmp_path / f"pets/{split}/cat").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / f"pets/{split}/cat/a.png")
    one_error(secateur("evaluate", model, "--data", tmp_path / "pets"), "holds class folders")


@pytest.mark.parametrize(("names", "split"), [(("train", "val"), "val"), (("val",), "val")])
def test_evaluate_a_classifier_takes_the_splits_that_init_does(
    names: tuple[str, ...], split: str, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    for number, name in enumerate(names):
        for kind in ("cat", "dog"):
            folder = tmp_path / "pets" / name / kind
            folder.mkdir(parents=True)
            for copy in range(number + 1):
                Image.new("RGB", (8, 8)).save(folder / f"{copy}.png")
    made = vgg_architecture(("cat", "dog"), size=32, widths=0.06, hidden=(8,), pool=1)
    save_network(tmp_path / "slim.safetensors", build_vgg(made), made, {})
    outcome = secateur(
        "evaluate", tmp_path / "slim.safetensors", "--data", tmp_path / "pets", "--json"
    )
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["split"], found["pictures"]) == (split, 2 * len(names))


# ---- init ----------------------------------------------------------------------------------


def coco_folder(root: Path) -> None:
    (root / "annotations").mkdir(parents=True)
    (root / "train").mkdir()
    Image.new("RGB", (64, 64)).save(root / "train/a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}],
        "categories": [{"id": 1, "name": "never"}, {"id": 2, "name": "yes: no"}],
        "annotations": [{"image_id": 1, "category_id": 2, "bbox": [1, 1, 9, 9]}],
    }
    (root / "annotations/train.json").write_text(json.dumps(content))


def yolo_folder(root: Path) -> None:
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(root / f"images/{split}/a.png")
        (root / f"labels/{split}/a.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (root / "data.yaml").write_text("names: ['7']\n")


def test_init_for_voc(secateur: Callable[..., Outcome], voc: Path, tmp_path: Path) -> None:
    out = tmp_path / "first.yaml"
    outcome = secateur("init", voc, "--out", out)
    assert outcome.code == 0, outcome.err
    assert "8 pictures to train on with 9 objects of 2 classes, 2 to test on\n" in outcome.out
    made = load_recipe(out)
    assert made.data.root == voc
    assert (made.data.format, made.data.train, made.data.test) == ("voc", "train", "test")
    assert set(made.data.classes or ()) == {"cat", "dog"}
    assert made.name == "my--red-pictures--red---dog-"
    assert made.model.weights == "torchvision:VGG16_Weights.IMAGENET1K_FEATURES"
    assert secateur("compress", out, "--plan").code == 0

    before = out.read_text()
    one_error(secateur("init", voc, "--out", out), out, "not overwritten")
    assert out.read_text() == before


@pytest.mark.parametrize(
    ("make", "data_format", "classes", "test"),
    [(coco_folder, "coco", ("yes: no",), None), (yolo_folder, "yolo", ("7",), "val")],
)
def test_init_for_coco_and_yolo(
    secateur: Callable[..., Outcome],
    tmp_path: Path,
    make: Callable[[Path], None],
    data_format: str,
    classes: tuple[str, ...],
    test: str | None,
) -> None:
    make(tmp_path / "null")
    out = tmp_path / "first.yaml"
    outcome = secateur("init", tmp_path / "null", "--out", out)
    assert outcome.code == 0, outcome.err
    made = load_recipe(out)
    assert made.name == "null"
    assert (made.data.format, made.data.classes, made.data.test) == (data_format, classes, test)
    assert ("to test on (val, looked at once" in outcome.out) == (test == "val")


def test_init_refuses_an_unknown_layout(secateur: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "[x]").mkdir()
    one_error(secateur("init", tmp_path / "[x]"), tmp_path / "[x]", "VOC")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_came_where_nothing_can_be_raised_comes_again(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Deaf:
        def __del__(self) -> None:
            signal.raise_signal(number)

    def stopped(_arguments: object) -> None:
        try:
            Deaf()
            time.sleep(20)
        except KeyboardInterrupt:  # as typer has it
            raise SystemExit(130) from None

    monkeypatch.setattr("secateur.cli.main.app", stopped)
    # What runs in a shell's background ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    start = time.monotonic()
    try:
        with pytest.raises(SystemExit) as end:
            main(["export"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert end.value.code == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert time.monotonic() - start < 10
    assert capfd.readouterr().err == "stopped\n"


def test_only_a_command_that_resumes_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stopped(_arguments: object) -> None:
        raise SystemExit(130)

    monkeypatch.setattr("secateur.cli.main.app", stopped)
    for arguments, said in (
        (["evaluate", "a.safetensors", "--split", "train"], "stopped\n"),
        (["train", "a.yaml"], "stopped; give the same command again"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert capfd.readouterr().err.startswith(said)


def test_a_stop_is_told_whatever_it_brings_down(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # As by `timeout`, which ends the processes that load pictures too.
    def stopped(_arguments: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except SystemExit:
            raise RunError("a process that loads pictures was killed") from None

    monkeypatch.setattr("secateur.cli.main.app", stopped)
    with pytest.raises(SystemExit) as end:
        main(["compress", "recipe.yaml"])
    assert end.value.code == 143
    assert capfd.readouterr().err.startswith("stopped; give the same command again")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (LostError("another process has ended"), 2, "error: another process has ended\n"),
        (SystemExit(143), 143, "stopped\n"),
    ],
)
def test_a_stop_while_the_end_is_told_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    number: signal.Signals,
    end: BaseException,
    code: int,
    said: str,
) -> None:
    def stopped(_arguments: object) -> None:
        raise end

    def tell_late(text: str) -> None:
        signal.raise_signal(number)
        complain(text)

    monkeypatch.setattr("secateur.cli.main.app", stopped)
    monkeypatch.setattr("secateur.cli.main.complain", tell_late)
    with pytest.raises(SystemExit) as ended:
        main(["export"])
    assert ended.value.code == code
    assert capfd.readouterr().err == said
