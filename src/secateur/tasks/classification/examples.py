"""Test pictures that a classifier gets wrong, with copies."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from secateur.data.classification_set import ClassificationSet
from secateur.files.atomic_write import atomic_write

MAX_PICTURES = 24


def classification_examples(
    dense: Tensor, slim: Tensor, dataset: ClassificationSet, folder: Path
) -> dict[str, Any]:
    """Copy the pictures that the slim network gets wrong, the most confident mistakes first.

    Args:
        dense: the dense network's probabilities, (N, K).
        slim: the slim network's probabilities, (N, K).
        dataset: the pictures.
        folder: where copies are written, as ``01.png`` and so on.

    Returns:
        The content of a ``run.records.ClassifierExamples``.
    """
    (dense_scores, dense_labels), (slim_scores, slim_labels) = dense.max(1), slim.max(1)
    wrong = torch.nonzero(slim_labels != dataset.labels)[:, 0]
    order = wrong[slim_scores[wrong].argsort(descending=True, stable=True)]
    rows = []
    for number, at in enumerate(order[:MAX_PICTURES].tolist(), start=1):
        file = f"{number:02}.png"
        image: Image.Image = to_pil_image(dataset.pixels[at])
        with atomic_write(folder / file) as draft:
            image.save(draft, "png")
        rows.append(
            {
                "kind": "mistake",
                "file": file,
                "name": dataset.names[at],
                "truth": dataset.classes[int(dataset.labels[at])],
                "dense": _prediction(dense_labels[at], dense_scores[at], dataset),
                "slim": _prediction(slim_labels[at], slim_scores[at], dataset),
            }
        )
    return {"kind": "classifier", "pictures": rows}


def _prediction(label: Tensor, score: Tensor, dataset: ClassificationSet) -> dict[str, Any]:
    return {"class": dataset.classes[int(label)], "score": round(float(score), 4)}
