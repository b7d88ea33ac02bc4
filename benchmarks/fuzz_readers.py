"""Every reader of files from strangers, with small valid files to start from.

A case is one byte, which chooses one of the reader's files, and that file's content; the other
files remain valid.
"""

import io
import json
import struct
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from pydantic import BaseModel
from safetensors.torch import save
from torch import nn

from secateur.config.data import DetectionData
from secateur.config.evaluate import Evaluate
from secateur.config.recipe import load_recipe
from secateur.data.detection_set import DetectionSet, annotated_picture
from secateur.data.formats.class_folders import read_class_folders
from secateur.data.formats.coco import read_coco
from secateur.data.formats.gtsdb import read_gtsdb
from secateur.data.formats.gtsrb import read_gtsrb
from secateur.data.formats.voc import read_voc
from secateur.data.formats.yolo import read_yolo
from secateur.data.loaders import read_picture
from secateur.errors import DataError, ModelError, RecipeError, RunError, SecateurError
from secateur.models.network_file import load_network, save_network
from secateur.models.vgg import build_vgg, vgg_architecture
from secateur.run import records
from secateur.run.predictions_file import PREDICTIONS_FILE, load_predictions
from secateur.runtimes.header import ExportHeader
from secateur.tasks.detection.detections import Detections
from secateur.tasks.detection.detector import Detector
from secateur.training.checkpoint import TrainingState

# From a case's content to that of its file.
Wrap = Callable[[bytes], bytes]


def as_it_is(content: bytes) -> bytes:
    """Return the case itself."""
    return content


@dataclass(frozen=True)
class Part:
    """One of the files that a case can become.

    Attributes:
        path: in the reader's folder.
        seeds: valid and hostile contents to mutate.
        wrap: makes a file of a case.
    """

    path: str
    seeds: tuple[bytes, ...]
    wrap: Wrap = as_it_is


@dataclass(frozen=True)
class Reader:
    """A reader and its files.

    Attributes:
        parts: files of which a case replaces one.
        read: reads the folder; may raise ``refusal`` only.
        refusal: the error for bad input.
        prepare: writes the other files that the reader needs into the folder.
    """

    parts: tuple[Part, ...]
    read: Callable[[Path], object]
    refusal: type[SecateurError] = DataError
    prepare: Callable[[Path], object] = lambda _folder: None


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    """Draw a small picture; return its file."""
    file = io.BytesIO()
    ramp = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3)
    Image.fromarray(ramp).save(file, kind, **options)
    return file.getvalue()


def pictures() -> tuple[bytes, ...]:
    """Return files of every kind that is read, including rotated and animated pictures."""
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
    """Return JSON."""
    return json.dumps(content).encode()


def as_safetensors(payload: bytes) -> Wrap:
    """Make a safetensors file of its header, the case, and this payload."""
    return lambda header: struct.pack("<Q", len(header)) + header + payload


def split_safetensors(file: bytes) -> tuple[bytes, bytes]:
    """Return the header and the payload of a safetensors file."""
    end = 8 + struct.unpack("<Q", file[:8])[0]
    return file[8:end], file[end:]


def safetensors_parts(path: str, file: bytes) -> tuple[Part, Part]:
    """Mutate a whole file, and its header with a length that fits."""
    header, payload = split_safetensors(file)
    return Part(path, (file,)), Part(path, (header,), as_safetensors(payload))


def put_picture(*paths: str) -> Callable[[Path], object]:
    """Return a function that writes a small picture to each of these paths."""

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


def read_a_picture(folder: Path) -> object:
    """Read a picture as training and detection do."""
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
    """Return a narrow VGG16's file, its safetensors header, and Secateur's header inside that."""
    architecture = vgg_architecture(
        CLASSES, size=32, batch_norm=False, widths=0.001, hidden=(), pool=1
    )
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "network.safetensors"
        save_network(saved, build_vgg(architecture), architecture, {})
        file = saved.read_bytes()
    header, payload = split_safetensors(file)
    tensors = json.loads(header)
    inner = tensors["__metadata__"]["secateur"].encode()

    def around(content: bytes) -> bytes:
        tensors["__metadata__"] = {"secateur": content.decode("utf-8", "replace")}
        return as_safetensors(payload)(dumped(tensors))

    path = "network.safetensors"
    return (*safetensors_parts(path, file), Part(path, (inner,), around))


def read_export_header(folder: Path) -> object:
    """Read the header of an exported file."""
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
    "export header": Reader(
        (
            Part(
                "text",
                (ExportHeader(task="detector", outputs="raw", classes=CLASSES, size=32, resize=True)
                 .model_dump_json().encode(),),
            ),
        ),
        read_export_header,
        ModelError,
    ),
}  # fmt: skip


# ---- runs ---------------------------------------------------------------------------------------

FOUND = [
    Detections(torch.tensor([[0.0, 0, 4, 4]] * n), torch.tensor([1] * n), torch.full((n,), 0.5))
    for n in (2, 1)
]


def load_both(folder: Path) -> object:
    """Read a detector's predictions for two pictures."""
    task = Detector(DetectionData(format="voc", root=folder), Evaluate())
    shown = annotated_picture(folder / "a.jpg", [], [], [], folder, folder)
    return load_predictions(folder, task, DetectionSet(CLASSES, (shown, shown)))


def predictions_file() -> bytes:
    """Return a detector's predictions as a file."""
    task = Detector(DetectionData(format="voc", root=Path()), Evaluate())
    return save(task.to_tensors(FOUND))


def small_training() -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return a network and its optimizer after one step."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return model, optimizer


def state_file(folder: Path) -> bytes:
    """Return a training's state as a file."""
    state = TrainingState(folder / "training.safetensors", interval=0.0)
    state.write_when_due(*small_training(), [0.5])
    return state.path.read_bytes()


TRAINING = small_training()


def resume(folder: Path) -> object:
    """Resume a training and make one step."""
    model, optimizer = TRAINING
    state = TrainingState(folder / "training.safetensors")
    state.steps_done(5)
    trace = state.restore(model, optimizer)
    optimizer.step()
    return trace


EVALUATION = {
    "kind": "evaluate",
    "network": "slim",
    "params": 1,
    "macs": 2,
    "bytes": 3,
    "metrics": {"AP50_area": 50.0},
    "filters": {"conv1_1": 8},
    "input": [3, 32, 32],
}
TRAINING_RECORD = {
    "kind": "sparsify",
    "phase": 1,
    "metrics": {"AP50_area": 50.0},
    "loss": [0.5],
    "zeros": 0.5,
}
EXAMPLES = {
    "kind": "examples",
    "examples": {
        "kind": "classifier",
        "pictures": [
            {
                "kind": "mistake",
                "file": "01.png",
                "name": "test/cat/1.png",
                "truth": "cat",
                "dense": {"class": "cat", "score": 0.5},
                "slim": {"class": "dog", "score": 0.5},
            }
        ],
    },
}


def step_record(result: object) -> bytes:
    """Return a stage's record as a file."""
    return dumped(
        {"version": 2, "output_key": "a", "result_key": "b", "seconds": 1.0, "result": result}
    )


# Type and valid contents of each file of a run.
RECORDS: Mapping[str, tuple[type[BaseModel], tuple[bytes, ...]]] = {
    "step": (
        records.StepRecord,
        tuple(map(step_record, (TRAINING_RECORD, EVALUATION, EXAMPLES, None))),
    ),
    "summary": (
        records.Summary,
        (
            dumped(
                {
                    "version": 2,
                    "name": "mine",
                    "metric": "AP50_area",
                    "split": "test",
                    "dense": {**EVALUATION, "network": "dense"},
                    "slim": EVALUATION,
                    "phases": [],
                    "seed": 0,
                    "recipe": {},
                    "provenance": {"versions": {}, "machine": {}, "date": "2026-11-30"},
                    "seconds": {"dense": 1.0},
                }
            ),
        ),
    ),
    "steps": (records.StageList, (dumped({"version": 2, "steps": ["dense"], "phases": []}),)),
    "by_class": (
        records.ByClassRecord,
        (
            dumped({"by_class": {"cat": {"top1": 5.0}}, "confusion": [[1]]}),
            dumped({"by_class": {"cat": {}}, "curves": {"cat": {"recall": [1], "precision": [1]}}}),
        ),
    ),
}


def read_records(folder: Path) -> object:
    """Read each JSON file of a run, as a run and its report do."""
    return [
        records.read_record(folder / f"{name}.json", kind) for name, (kind, _) in RECORDS.items()
    ]


def run_readers(scratch: Path) -> dict[str, Reader]:
    """Return the readers of a run's folder; their files are made in ``scratch``."""
    return {
        "predictions": Reader(
            safetensors_parts(PREDICTIONS_FILE, predictions_file()),
            load_both,
            RunError,
            put_picture("a.jpg"),
        ),
        "training state": Reader(
            safetensors_parts("training.safetensors", state_file(scratch)), resume, RunError
        ),
        "run's JSON": Reader(
            tuple(Part(f"{name}.json", seeds) for name, (_, seeds) in RECORDS.items()),
            read_records,
            RunError,
        ),
    }


def readers(scratch: Path) -> dict[str, Reader]:
    """Return all readers by name."""
    return {**DATA, **FILES, **run_readers(scratch)}
