"""Test pictures that a classifier takes for something else, with copies to look at."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from secateur.data.classification_set import ClassificationSet
from secateur.files.atomic_write import atomic_write

MOST = 24  # pictures


def classification_examples(
    dense: Tensor, slim: Tensor, dataset: ClassificationSet, folder: Path
) -> dict[str, Any]:
    """Copy the pictures that slim got wrong, the surest mistakes first.

    Args:
        dense: probabilities (N, K) by the network before.
        slim: likewise by the network after.
        dataset: the pictures.
        folder: where the copies go, as ``01.png`` and so on.
    """
    (dense_scores, dense_found), (slim_scores, slim_found) = dense.max(1), slim.max(1)
    wrong = torch.nonzero(slim_found != dataset.labels)[:, 0]
    order = wrong[slim_scores[wrong].argsort(descending=True, stable=True)]
    rows = []
    for number, at in enumerate(order[:MOST].tolist(), start=1):
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
                "dense": _answer(dense_found[at], dense_scores[at], dataset),
                "slim": _answer(slim_found[at], slim_scores[at], dataset),
            }
        )
    return {"kind": "classifier", "pictures": rows}


def _answer(found: Tensor, score: Tensor, dataset: ClassificationSet) -> dict[str, Any]:
    return {"class": dataset.classes[int(found)], "score": round(float(score), 4)}
