"""SSD's loss of a batch equals torchvision's, which takes one picture at a time."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from secateur.models.ssd import build_ssd, ssd_architecture
from secateur.tasks.detection.loss import multibox_loss
from secateur.tasks.detection.matching import UNMATCHED, match_boxes
from secateur.tasks.detection.outputs import RawOutputs


@pytest.fixture(scope="module")
def ssd() -> SSD:
    return build_ssd(ssd_architecture("ssd300", ("cat", "dog"), size=96, detection_layers=2))


def grid() -> Tensor:
    """Default boxes of three sizes in a picture of 96 × 96 pixels."""
    centre = torch.cartesian_prod(torch.arange(8.0, 96, 8), torch.arange(8.0, 96, 8))
    return torch.cat([torch.cat([centre - side, centre + side], 1) for side in (6.0, 12.0, 24.0)])


def random_targets(seed: int, counts: list[int]) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for count in counts:
        corner = 60 * torch.rand(count, 2, generator=generator)
        sides = 4 + 30 * torch.rand(count, 2, generator=generator)
        labels = torch.randint(1, 3, (count,), generator=generator)
        targets.append({"boxes": torch.cat([corner, corner + sides], 1), "labels": labels})
    return targets


def padded(targets: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    width = 1 + max(len(target["labels"]) for target in targets)
    objects, labels = torch.zeros(len(targets), width, 4), torch.zeros(len(targets), width).long()
    for row, target in enumerate(targets):
        count = len(target["labels"])
        objects[row, :count], labels[row, :count] = target["boxes"], target["labels"]
    return objects, labels


def torchvisions_loss(
    ssd: SSD, logits: Tensor, offsets: Tensor, boxes: Tensor, targets: list[dict[str, Tensor]]
) -> Tensor:
    matches = [
        ssd.proposal_matcher(box_iou(target["boxes"], boxes))
        if len(target["boxes"])
        else torch.full((len(boxes),), -1, dtype=torch.int64)
        for target in targets
    ]
    outputs = {"cls_logits": logits, "bbox_regression": offsets}
    losses = ssd.compute_loss(targets, outputs, [boxes] * len(targets), matches)
    loss: Tensor = losses["bbox_regression"] + losses["classification"]
    return loss


@pytest.mark.parametrize("counts", [[3, 0, 7, 1], [0, 0], [40], [2, 2, 2]])
def test_loss_and_gradients_equal_torchvisions(ssd: SSD, counts: list[int]) -> None:
    boxes, targets = grid(), random_targets(sum(counts), counts)
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(len(counts), len(boxes), 3, generator=generator, requires_grad=True)
    offsets = torch.randn(len(counts), len(boxes), 4, generator=generator, requires_grad=True)
    ours = multibox_loss(RawOutputs(logits, offsets, boxes), *padded(targets))
    theirs = torchvisions_loss(ssd, logits, offsets, boxes, targets)
    torch.testing.assert_close(ours, theirs)
    if sum(counts):
        assert ours > 0
        for a, b in zip(
            torch.autograd.grad(ours, (logits, offsets)),
            torch.autograd.grad(theirs, (logits, offsets)),
            strict=True,
        ):
            torch.testing.assert_close(a, b)


def test_every_object_is_matched_to_its_best_box_unless_a_later_one_shares_it() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    # The first two overlap only the first box, by little; the third overlaps the last box by much.
    objects = torch.tensor([[[8.0, 0, 18, 10], [9, 0, 19, 10], [41, 0, 51, 10], [0, 0, 0, 0]]])
    real = torch.tensor([[True, True, True, False]])
    assert match_boxes(boxes, objects, real).tolist() == [[1, UNMATCHED, 2]]


def test_padding_is_never_matched() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    objects = boxes[None]
    assert match_boxes(boxes, objects, torch.tensor([[False, True]])).tolist() == [[UNMATCHED, 1]]
    assert match_boxes(boxes, objects, torch.tensor([[False, False]])).tolist() == [[-1, -1]]
