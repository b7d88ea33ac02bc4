"""Non-maximum suppression of many lists of boxes at once, with a result of fixed shape.

torchvision's NMS returns as many indices as boxes are kept, so a trace cannot know the result's
shape. Here the result is a mask, so that a detector can be traced for any number of pictures. In
an ONNX file it becomes the standard operator ``NonMaxSuppression``.
"""

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms

from secateur.files.optional import require


@torch.library.custom_op("secateur::kept_by_nms", mutates_args=())
def kept_by_nms(boxes: Tensor, scores: Tensor, iou: float, least: float) -> Tensor:
    """Return a mask of the boxes that NMS keeps in each list, (M, K) bool.

    Args:
        boxes: (M, K, 4), ``x1, y1, x2, y2``.
        scores: (M, K).
        iou: IoU above which the lower-scored box of a list is suppressed.
        least: boxes whose score is not above it are dropped.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for number in range(len(scores)):
        likely = (scores[number] > least).nonzero()[:, 0]
        chosen = nms(boxes[number, likely], scores[number, likely], iou)
        kept[number, likely[chosen]] = True
    return kept


@kept_by_nms.register_fake
def _(boxes: Tensor, scores: Tensor, iou: float, least: float) -> Tensor:  # noqa: ARG001
    return torch.empty_like(scores, dtype=torch.bool)


def onnx_translations() -> dict[Any, Any]:
    """Return the ONNX function of each custom operator, for ``torch.onnx.export``.

    Raises:
        MissingExtraError: onnxscript is not installed.
    """
    op = require("onnxscript").opset18

    def kept(boxes: Any, scores: Any, iou: float, least: float) -> Any:
        # (M, 1, K): every list is treated as a picture with one class.
        picked = op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(scores, op.Constant(value_ints=[1])),
            op.Constant(value_ints=[2**31 - 1]),
            op.Constant(value_floats=[iou]),
            op.Constant(value_floats=[least]),
        )  # (kept, 3): list, class, box
        places = op.Gather(picked, op.Constant(value_ints=[0, 2]), axis=1)
        nothing = op.Expand(op.Constant(value_float=0.0), op.Shape(scores))
        ones = op.Expand(op.Constant(value_float=1.0), op.Shape(picked, start=0, end=1))
        return op.Greater(op.ScatterND(nothing, places, ones), op.Constant(value_float=0.5))

    return {torch.ops.secateur.kept_by_nms.default: kept}
