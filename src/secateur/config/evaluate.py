"""The section ``evaluate``: how accuracy is measured."""

from typing import Literal

from pydantic import Field

from secateur.config.section import Count, Section, Share

Metric = Literal["AP50_area", "AP50_voc07", "AP_coco", "top1"]


class Evaluate(Section):
    """How accuracy is measured."""

    metric: Metric = Field(
        "AP50_area",
        description="metric of every decision on validation; top1 for a classifier",
    )
    batch_size: Count = Field(16, description="pictures per batch")
    score: Share = Field(0.01, description="score threshold: detections below it are dropped")
    nms: Share = Field(0.45, description="IoU above which a class's lower-scored box is suppressed")
    candidates: Count = Field(400, description="highest-scored boxes of a class that enter NMS")
    boxes: Count = Field(200, description="largest number of boxes per picture")
