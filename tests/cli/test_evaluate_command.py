"""``secateur evaluate``."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tiny_detector import tiny, write_network

from commands import Outcome, one_error
from secateur.models.network_file import save_network
from secateur.models.vgg import build_vgg, vgg_architecture


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
    one_error(outcome, model, "only in the data: cat; missing there: bird")


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
    absent = tmp_path / "nope.safetensors"
    one_error(secateur("evaluate", absent), absent, "no such network file")


def test_evaluate_a_detector_on_class_folders(
    secateur: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    for split in ("train", "val"):
        (tmp_path / f"pets/{split}/cat").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / f"pets/{split}/cat/a.png")
    one_error(
        secateur("evaluate", model, "--data", tmp_path / "pets"), "has class folders but no boxes"
    )


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
