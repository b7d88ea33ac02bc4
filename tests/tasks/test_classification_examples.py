"""The mistakes of a classifier that a report shows."""

from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

from secateur.data.classification_set import ClassificationSet
from secateur.run.records import ClassifierExamples
from secateur.tasks.classification.examples import classification_examples


def test_the_most_confident_mistakes_come_first(tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    names = ("a.png", "b.png", "c.png", "d.png")
    dataset = ClassificationSet(("cat", "dog"), pixels, torch.tensor([0, 0, 1, 1]), names)
    dense = torch.tensor([[0.75, 0.25], [0.625, 0.375], [0.125, 0.875], [1.0, 0.0]])
    slim = torch.tensor([[0.375, 0.625], [0.9, 0.1], [0.87654, 0.12346], [0.625, 0.375]])
    examples = classification_examples(dense, slim, dataset, tmp_path)
    ClassifierExamples.model_validate(examples)
    assert examples == {
        "kind": "classifier",
        "pictures": [
            {
                "kind": "mistake",
                "file": "01.png",
                "name": "c.png",
                "truth": "dog",
                "dense": {"class": "dog", "score": 0.875},
                "slim": {"class": "cat", "score": 0.8765},
            },
            {
                "kind": "mistake",
                "file": "02.png",
                "name": "a.png",
                "truth": "cat",
                "dense": {"class": "cat", "score": 0.75},
                "slim": {"class": "dog", "score": 0.625},
            },
            {
                "kind": "mistake",
                "file": "03.png",
                "name": "d.png",
                "truth": "dog",
                "dense": {"class": "cat", "score": 1.0},
                "slim": {"class": "cat", "score": 0.625},
            },
        ],
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01.png", "02.png", "03.png"]
    with Image.open(tmp_path / "01.png") as copy:
        assert torch.equal(pil_to_tensor(copy), pixels[2])


def test_at_most_24_pictures_are_copied(tmp_path: Path) -> None:
    count = 30
    pixels = torch.zeros((count, 3, 4, 4), dtype=torch.uint8)
    names = tuple(f"{i}.png" for i in range(count))
    dataset = ClassificationSet(("cat", "dog"), pixels, torch.ones(count, dtype=torch.int64), names)
    slim = torch.stack([torch.linspace(0.6, 0.9, count), torch.linspace(0.4, 0.1, count)], 1)
    examples = classification_examples(slim, slim, dataset, tmp_path)
    assert [each["name"] for each in examples["pictures"]] == [f"{i}.png" for i in range(29, 5, -1)]
    assert len(list(tmp_path.iterdir())) == 24


def test_a_classifier_without_mistakes_has_no_examples(tmp_path: Path) -> None:
    pixels = torch.zeros((1, 3, 4, 4), dtype=torch.uint8)
    dataset = ClassificationSet(("cat", "dog"), pixels, torch.tensor([1]), ("a.png",))
    right = torch.tensor([[0.1, 0.9]])
    assert classification_examples(right, right, dataset, tmp_path)["pictures"] == []
