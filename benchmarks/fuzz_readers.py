"""Every reader of files from strangers, with small valid files to begin from.

A case is a file's content behind one byte that chooses which of the reader's files it becomes; the
others stay valid.
"""

import io
import json
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save
from secateur.runtimes.header import ExportHeader
from torch import nn

from secateur.config.data import DetectionData
from secateur.config.evaluate import Evaluate
from secateur.config.recipe import load_recipe
from secateur.data.detection_set import DetectionSet, annotated_picture
from secateur.data.formats.cifar10 import read_cifar10
from secateur.data.formats.class_folders import read_class_folders
from secateur.data.formats.coco import read_coco
from secateur.data.formats.gtsdb import read_gtsdb
from secateur.data.formats.gtsrb import read_gtsrb
from secateur.data.formats.voc import read_voc
from secateur.data.formats.yolo import read_yolo
from secateur.data.loaders import read_picture
from secateur.errors import DataError, ModelError, RecipeError, RunError, SecateurError
from secateur.models.network_file import load_network
from secateur.models.vgg import build_vgg, vgg_architecture
from secateur.report import artifacts
from secateur.run.folder import read_record
from secateur.run.predictions_file import PREDICTIONS_FILE, load_predictions
from secateur.tasks.detection.detections import Detections
from secateur.tasks.detection.detector import Detector
from secateur.training.checkpoint import TrainingState

# From a case's content to that of its file.
Wrap = Callable[[bytes], bytes]


def as_it_is(content: bytes) -> bytes:
    """Give a file that is the case itself."""
    return content


@dataclass(frozen=True)
class Part:
    """One of the files that a case can become.

    Attributes:
        path: in the reader's folder.
        seeds: valid contents, and hostile ones to go on from.
        wrap: makes the file of a case.
    """

    path: str
    seeds: tuple[bytes, ...]
    wrap: Wrap = as_it_is


@dataclass(frozen=True)
class Reader:
    """A reader, and what it is to be tried on.

    Attributes:
        parts: of which a case replaces one.
        read: reads the folder; raises nothing but ``refusal``.
        refusal: what bad input becomes.
        prepare: writes valid files, beside the parts, into the folder.
    """

    parts: tuple[Part, ...]
    read: Callable[[Path], object]
    refusal: type[SecateurError] = DataError
    prepare: Callable[[Path], object] = lambda _folder: None


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    """Draw a small picture, as a file of some kind."""
    file = io.BytesIO()
    ramp = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3)
    Image.fromarray(ramp).save(file, kind, **options)
    return file.getvalue()


def pictures() -> tuple[bytes, ...]:
    """Files of every kind that is read, turned and animated ones among them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
    more = [Image.new("RGB", (8, 6), "red"), Image.new("RGB", (8, 6), "blue")]
    deep = io.BytesIO()
    Image.new("I;16", (4, 4)).save(deep, "PNG")
    four = io.BytesIO()
    Image.new("CMYK", (4, 4)).save(four, "JPEG")
    huge = bytearray(picture())
    huge[16:24] = struct.pack(">II", 60_000, 60_000)
    return (
        *(picture(kind) for kind in kinds),
        picture("JPEG", exif=exif),
        picture("PNG", exif=exif),
        picture("GIF", save_all=True, append_images=more),
        picture("TIFF", compression="tiff_lzw"),
        deep.getvalue(),
        four.getvalue(),
        bytes(huge),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n%%EndComments\n",
    )


def dumped(content: object) -> bytes:
    """Write JSON."""
    return json.dumps(content).encode()


def behind_its_length(payload: bytes) -> Wrap:
    """Make a safetensors file of a case that is its header."""
    return lambda header: struct.pack("<Q", len(header)) + header + payload


def taken_apart(file: bytes) -> tuple[bytes, bytes]:
    """Header and payload of a safetensors file."""
    end = 8 + struct.unpack("<Q", file[:8])[0]
    return file[8:end], file[end:]


def safetensors_parts(path: str, file: bytes) -> tuple[Part, Part]:
    """Try a file as it is, and its header behind the length that fits."""
    header, payload = taken_apart(file)
    return Part(path, (file,)), Part(path, (header,), behind_its_length(payload))


def put_picture(*paths: str) -> Callable[[Path], object]:
    """Give what writes one small picture to these places."""

    def prepare(folder: Path) -> None:
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(picture("JPEG"))

    return prepare


# ---- data ---------------------------------------------------------------------------------------

XML = (
    b"<annotation><object><name>cat</name><difficult>1</difficult><bndbox><xmin>1</xmin>"
    b"<ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox></object></annotation>"
)
BOMB = (
    b'<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b"<annotation><object><name>&b;</name></object></annotation>"
)
OUTSIDE = (
    b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    b"<annotation><object><name>&a;</name></object></annotation>"
)
COCO = {
    "images": [{"id": 5, "file_name": "a.jpg", "width": 8, "height": 6}],
    "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    "annotations": [{"image_id": 5, "category_id": 7, "bbox": [0, 0, 8, 6], "iscrowd": 0}],
}
MERGED = b"a: &a {x: 1, y: 2}\nb: &b {<<: [*a, *a, *a]}\nnames: {<<: [*b, *b, *b]}\n"


def cifar_batch(protocol: int) -> bytes:
    """One picture, as CIFAR-10 is published, but smaller to mutate well."""
    content = {b"data": np.zeros((1, 3072), np.uint8), b"labels": [1], b"filenames": [b"a.png"]}
    return pickle.dumps(content, protocol)


def read_a_picture(folder: Path) -> object:
    """Read as training and detection do."""
    path = folder / "a.png"
    return read_picture(annotated_picture(path, [], [], [], path, folder))


DATA = {
    "voc": Reader(
        (
            Part("Annotations/a.xml", (XML, BOMB, OUTSIDE, b"<a>" * 500)),
            Part("ImageSets/Main/train.txt", (b"a\na\n", b"../a\n/etc/passwd\n")),
        ),
        lambda folder: read_voc(folder, "train", ["cat", "dog"]),
        prepare=put_picture("JPEGImages/a.jpg"),
    ),
    "coco": Reader(
        (Part("annotations/train.json", (dumped(COCO), b"[" * 500)),),
        lambda folder: read_coco(folder, "train", None),
        prepare=put_picture("train/a.jpg"),
    ),
    "yolo": Reader(
        (
            Part("labels/train/a.txt", (b"0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.1 0.1\n",)),
            Part("data.yaml", (b"names: [cat, dog]\n", b"names:\n  0: cat\n  1: dog\n", MERGED)),
            Part("classes.txt", (b"cat\ndog\n",)),
        ),
        lambda folder: read_yolo(folder, "train", None),
        prepare=put_picture("images/train/a.jpg"),
    ),
    "gtsdb": Reader(
        (Part("gt.txt", (b"00600.ppm;1;1;4;4;11\n00600.ppm;2;1;5;3;40\n",)),),
        lambda folder: read_gtsdb(folder, "test", "43"),
        prepare=put_picture("00600.jpg"),
    ),
    "gtsrb": Reader(
        (
            Part(
                "GTSRB/Final_Test/Images/GT-final_test.csv",
                (b"Filename;Width;ClassId\na.jpg;8;3\n", b"Filename;ClassId\n../a.jpg;4\n"),
            ),
        ),
        lambda folder: read_gtsrb(folder, "test", 4),
        prepare=put_picture("GTSRB/Final_Test/Images/a.jpg"),
    ),
    "class folders": Reader(
        (Part("train/cat/a.png", pictures()),),
        lambda folder: read_class_folders(folder, "train", 4),
    ),
    "pictures": Reader((Part("a.png", pictures()),), read_a_picture),
    "cifar10": Reader(
        (
            Part("test_batch", tuple(map(cifar_batch, range(6)))),
            Part("batches.meta", (pickle.dumps({b"label_names": [b"plane", b"car"]}, 2),)),
        ),
        lambda folder: read_cifar10(folder, "test", 4),
    ),
}

# ---- recipes and networks -----------------------------------------------------------------------

RECIPE = {
    "name": "mine",
    "data": {"format": "voc", "root": "data"},
    "model": {"network": "ssd300", "widths": {"conv1_1": 8}},
    "train": {"steps": 8},
    "compress": {
        "phases": [{"layers": "conv1_1-conv4_3", "retrain": {"steps": 2}}],
        "sparsify": {"steps": 4},
        "select": {"keep_params": 0.5},
        "retrain": {"steps": 4},
    },
}
CLASSES = ("cat", "dog")


def network_parts() -> tuple[Part, ...]:
    """A narrow VGG16's file, its header, and what stands of Secateur's in that."""
    architecture = vgg_architecture(
        CLASSES, size=32, batch_norm=False, widths=0.001, hidden=(), pool=1
    )
    file = io.BytesIO()
    model = build_vgg(architecture)
    inner = dumped({"architecture": architecture.model_dump(mode="json"), "provenance": {}})
    file.write(save(model.state_dict(), {"secateur": inner.decode()}))
    header, payload = taken_apart(file.getvalue())
    tensors = json.loads(header)

    def around(content: bytes) -> bytes:
        tensors["__metadata__"] = {"secateur": content.decode("utf-8", "replace")}
        return behind_its_length(payload)(dumped(tensors))

    path = "network.safetensors"
    return (*safetensors_parts(path, file.getvalue()), Part(path, (inner,), around))


def described(folder: Path) -> object:
    """Read what an exported file says of itself."""
    return ExportHeader.parse((folder / "text").read_bytes().decode("utf-8", "replace"))


FILES = {
    "recipe": Reader(
        (
            Part(
                "recipe.yaml",
                (yaml.safe_dump(RECIPE).encode(), MERGED, b"a: !!python/name:os.system x\n"),
            ),
        ),
        lambda folder: load_recipe(folder / "recipe.yaml"),
        RecipeError,
    ),
    "network": Reader(
        network_parts(), lambda folder: load_network(folder / "network.safetensors"), ModelError
    ),
    "description": Reader(
        (
            Part(
                "text",
                (ExportHeader(task="detector", outputs="raw", classes=CLASSES, size=32, resize=True)
                 .model_dump_json().encode(),),
            ),
        ),
        described,
        ModelError,
    ),
}  # fmt: skip


# ---- runs ---------------------------------------------------------------------------------------

FOUND = [
    Detections(torch.tensor([[0.0, 0, 4, 4]] * n), torch.tensor([1] * n), torch.full((n,), 0.5))
    for n in (2, 1)
]


def load_both(folder: Path) -> object:
    """Read a detector's predictions about two pictures."""
    task = Detector(DetectionData(format="voc", root=folder), Evaluate())
    about = annotated_picture(folder / "a.jpg", [], [], [], folder, folder)
    return load_predictions(folder, task, DetectionSet(CLASSES, (about, about)))


def answer_file() -> bytes:
    """A detector's predictions, as a file."""
    task = Detector(DetectionData(format="voc", root=Path()), Evaluate())
    return save(task.to_tensors(FOUND))


def small_training() -> tuple[nn.Module, torch.optim.Optimizer]:
    """A network and its optimiser behind a step."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return model, optimizer


def state_file(folder: Path) -> bytes:
    """A training's state, as a file."""
    state = TrainingState(folder / "training.safetensors", interval=0.0)
    state.write_when_due(*small_training(), [0.5])
    return state.path.read_bytes()


TRAINING = small_training()


def go_on(folder: Path) -> object:
    """Go on with a training, a step further."""
    model, optimizer = TRAINING
    state = TrainingState(folder / "training.safetensors")
    state.steps_done(5)
    trace = state.restore(model, optimizer)
    optimizer.step()
    return trace


EVALUATED = {"params": 1, "macs": 2, "bytes": 3, "AP50_area": 50.0}
KINDS: Mapping[str, tuple[type[Any], object]] = {
    "step": (artifacts.Step, {"key": "a", "seconds": 1.0, "result": {"metric": 1.0}}),
    "trained": (artifacts.Trained, {"metric": 1.0, "loss": [0.5], "zeros": 0.5}),
    "summary": (
        artifacts.Summary,
        {
            "split": "test",
            "dense": EVALUATED,
            "slim": EVALUATED,
            "provenance": {},
            "seconds": {"dense": 1.0},
            "recipe": {},
        },
    ),
    "trail": (artifacts.Trail, {"steps": ["dense"]}),
    "classes": (
        artifacts.ByClass,
        {"by_class": {"cat": {"AP50_area": 5.0}}, "confusion": [[1]]},
    ),
    "examples": (
        artifacts.Examples,
        {
            "kind": "classifier",
            "pictures": [
                {
                    "file": "01.png",
                    "truth": "cat",
                    "dense": {"class": "cat", "score": 0.5},
                    "slim": {"class": "dog", "score": 0.5},
                }
            ],
        },
    ),
}


def read_json(folder: Path) -> object:
    """Read each file of a run as a report does, and a step's as a run does."""
    read_record(folder / "step.json")
    return [artifacts.read_artifact(folder / f"{n}.json", kind) for n, (kind, _) in KINDS.items()]


def run_readers(scratch: Path) -> dict[str, Reader]:
    """Readers of a run's folder; ``scratch`` is a folder to make their files in."""
    return {
        "predictions": Reader(
            safetensors_parts(PREDICTIONS_FILE, answer_file()),
            load_both,
            RunError,
            put_picture("a.jpg"),
        ),
        "training state": Reader(
            safetensors_parts("training.safetensors", state_file(scratch)), go_on, RunError
        ),
        "run's JSON": Reader(
            tuple(Part(f"{n}.json", (dumped(value),)) for n, (_, value) in KINDS.items()),
            read_json,
            RunError,
        ),
    }


def readers(scratch: Path) -> dict[str, Reader]:
    """All of them, by name."""
    return {**DATA, **FILES, **run_readers(scratch)}
