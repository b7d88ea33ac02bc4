"""Objects found in somebody's pictures, drawn on copies and listed."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from torchvision.models.detection.ssd import SSD

from secateur.data.loading import read_picture
from secateur.drawing import draw_detections
from secateur.errors import ModelError
from secateur.models.network_file import load_network
from secateur.models.ssd import SSDArchitecture
from secateur.picture_files import copy_paths, find_pictures
from secateur.recipe import Evaluate
from secateur.tasks.detection import find_objects
from secateur.whole_file import whole_file, write_json


def detect_and_draw(
    model: Path,
    paths: Sequence[Path],
    out: Path,
    score: float,
    bar: Callable[[str, int], AbstractContextManager[Callable[..., None]]],
) -> dict[str, list[dict[str, Any]]]:
    """Find objects, and write drawn copies and ``detections.json`` to a folder.

    Args:
        model: the network file.
        paths: pictures, and folders of them.
        out: the folder; made if absent.
        score: least confidence, 0 to 1.
        bar: shows progress.

    Returns:
        For each picture its objects, the surest first: ``class``, ``score`` and ``box``, which is
        ``x1, y1, x2, y2`` in pixels.

    Raises:
        ModelError: the file is no network.
        DataError: a picture is missing or unreadable, or a copy would replace it.
        RunError: the folder cannot be written to.
    """
    network = load_network(model)
    ssd, architecture = network.model, network.architecture
    if not isinstance(ssd, SSD) or not isinstance(architecture, SSDArchitecture):
        raise ModelError(f"{model}: is a classifier and finds no boxes; give a detector")
    pictures = find_pictures(paths)
    copies = copy_paths(pictures, out)
    classes = architecture.classes
    with bar("finding", len(pictures)) as advance:
        # One at a time: people's pictures differ in shape, and may be large.
        settings = Evaluate(score=score, batch_size=1)
        detections = find_objects(ssd, architecture, pictures, settings, advance=advance)
    listed = {}
    with bar("drawing", len(pictures)) as advance:
        for picture, copy, found in zip(pictures, copies, detections, strict=True):
            drawn = draw_detections(read_picture(picture), found, classes)
            with whole_file(copy) as draft:
                # The draft's name has another ending, so the format is named.
                drawn.save(draft, drawn_format(copy), quality=95)
            order = found.scores.argsort(descending=True).tolist()
            listed[str(picture.path)] = [
                {
                    "class": classes[int(found.labels[i]) - 1],
                    "score": round(float(found.scores[i]), 4),
                    "box": [round(side, 1) for side in found.boxes[i].tolist()],
                }
                for i in order
            ]
            advance(1)
    write_json(out / "detections.json", listed)
    return listed


def drawn_format(path: Path) -> str:
    """Give Pillow's name of a picture file's format."""
    kind = path.suffix.lower().removeprefix(".")
    return "jpeg" if kind == "jpg" else kind
