"""The section ``evaluate``: how accuracy is measured."""

from typing import Literal

from pydantic import Field

from secateur.config.section import Count, Section, Share

Metric = Literal["AP50_area", "AP50_voc07", "AP_coco", "top1"]


class Evaluate(Section):
    """How accuracy is measured."""

    metric: Metric = Field(
        "AP50_area",
        description="what every decision on validation goes by; a classifier's is top1",
    )
    batch_size: Count = Field(16, description="pictures at once")
    score: Share = Field(0.01, description="least confidence of a detection")
    nms: Share = Field(0.45, description="IoU above which the lesser box of a class goes")
    candidates: Count = Field(400, description="best boxes of a class that enter NMS")
    boxes: Count = Field(200, description="boxes kept a picture")
