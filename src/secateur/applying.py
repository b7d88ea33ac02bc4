"""A network file put to work on pictures: what evaluating and detecting share."""

from collections.abc import Callable, Sequence

import torch

from secateur.data.detection_set import AnnotatedPicture
from secateur.errors import DataError
from secateur.models.network_file import NetworkFile
from secateur.models.ssd import SSDArchitecture, grid_sizes
from secateur.recipe import Evaluate
from secateur.tasks.average_precision import Detections
from secateur.tasks.detection import find_objects


def apply_network(
    network: NetworkFile,
    pictures: Sequence[AnnotatedPicture],
    settings: Evaluate,
    advance: Callable[[int], None],
) -> list[Detections]:
    """Find the objects of every picture, on the accelerator where there is one.

    Args:
        network: its thresholds are set to those of ``settings``.
        pictures: on disk.
        settings: scores, NMS and batch size.
        advance: told how many pictures were done.

    Raises:
        DataError: a picture cannot be read, or is too small for the network.
    """
    for picture in pictures:
        _check_size(picture, network.architecture)
    ssd = network.ssd
    ssd.score_thresh, ssd.nms_thresh = settings.score, settings.nms
    ssd.topk_candidates, ssd.detections_per_img = settings.candidates, settings.boxes
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    device = accelerator or torch.device("cpu")
    found = find_objects(
        ssd.to(device),
        pictures,
        resize=network.architecture.resize,
        batch_size=settings.batch_size,
        device=device,
        advance=advance,
    )
    ssd.cpu()
    return found


def _check_size(picture: AnnotatedPicture, architecture: SSDArchitecture) -> None:
    """Refuse a picture that would leave a detection layer without a cell."""
    if architecture.resize:
        return
    side = min(picture.height, picture.width)
    if min(grid_sizes(architecture.network, side)[: architecture.detection_layers]) < 1:
        raise DataError(
            f"{picture.path}: {picture.width} by {picture.height} pixels are too few for this "
            "network, which takes pictures at native size; leave it out or enlarge it"
        )
