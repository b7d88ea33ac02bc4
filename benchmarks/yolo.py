"""A YOLO of ultralytics' definitions, compressed in full: trained, cut, saved, loaded, exported.

``networks.py`` and a test call it. Random weights, and pictures of noise with random boxes: what
is shown is that every step works on such a network, not an accuracy.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import secateur

SIDE = 128  # pixels
PICTURES, BOXES = 4, 3
STEPS = 4
KEEP_MACS = 0.5
SEED = 20261201

# A training batch as ultralytics' loss takes it.
Batch = dict[str, Tensor]


def build(definition: str) -> nn.Module:
    """Build a detector from its definition, ``yolov8n.yaml``, with the settings of its loss."""
    torch.manual_seed(SEED)
    model: nn.Module = import_module("ultralytics.nn.tasks").DetectionModel(
        definition, verbose=False
    )
    model.args = import_module("ultralytics.cfg").get_cfg()
    return model


def draw_batch(classes: int) -> Batch:
    """Draw pictures of noise, and boxes at random places: classes, centres and sizes."""
    count = PICTURES * BOXES
    return {
        "img": torch.rand(PICTURES, 3, SIDE, SIDE),
        "cls": torch.randint(classes, (count, 1)).float(),
        "bboxes": torch.rand(count, 4) * 0.4 + 0.2,
        "batch_idx": torch.arange(PICTURES).repeat_interleave(BOXES).float(),
    }


def compress(definition: str, folder: Path) -> dict[str, Any]:
    """Compress a fresh detector, and check its file and its export.

    Args:
        definition: of ultralytics, such as ``yolov8n.yaml``.
        folder: where the files are written.

    Returns:
        Parameters and MACs before and after, and the largest differences from the slim network, as
        shares of the largest output: of the network loaded from the file, and of ONNX Runtime.
    """
    dense = build(definition)
    batch = draw_batch(dense.model[-1].nc)

    def train(model: nn.Module, penalty: secateur.Penalties) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        penalty.attach(optimizer)
        model.train()
        for _ in range(STEPS):
            loss, _parts = model.loss(batch)
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()

    def evaluate(model: nn.Module) -> float:
        loss, _parts = model.loss(batch)
        return -float(loss.sum())

    goal = secateur.Goal(keep_macs=KEEP_MACS)
    found = secateur.compress(dense, batch["img"], goal, train=train, evaluate=evaluate)
    slim = found.model.eval()
    path = folder / "slim.safetensors"
    found.save(path)
    back = secateur.shrink_to(build(definition), path).eval()
    with torch.no_grad():
        wanted = predictions(slim(batch["img"]))
        given = predictions(back(batch["img"]))
    return {
        "definition": definition,
        "dense": {"params": found.dense.params, "macs": found.dense.macs},
        "slim": {"params": found.slim.params, "macs": found.slim.macs},
        "loaded_difference": share(wanted, given.numpy()),
        "onnx_difference": share(wanted, run_onnx(slim, batch["img"], folder / "slim.onnx")),
    }


def predictions(outputs: Any) -> Tensor:
    """Return the first of the outputs: boxes and scores of every position."""
    first: Tensor = tree_leaves(outputs)[0]
    return first


def share(wanted: Tensor, given: np.ndarray[Any, Any]) -> float:
    """Largest difference, as a share of the largest output."""
    return float(np.abs(wanted.numpy() - given).max() / wanted.abs().max())


def run_onnx(model: nn.Module, pictures: Tensor, path: Path) -> np.ndarray[Any, Any]:
    """Export a detector, and run the file on the pictures."""
    head = model.model[-1]
    head.export, head.format = True, "onnx"
    torch.onnx.export(model, (pictures,), path, dynamo=True, verbose=False)
    session = import_module("onnxruntime").InferenceSession(path)
    outputs: list[np.ndarray[Any, Any]] = session.run(
        None, {session.get_inputs()[0].name: pictures.numpy()}
    )
    return outputs[0]
