"""Objects found in somebody's pictures and videos, drawn on copies and listed."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from secateur.config.evaluate import Evaluate
from secateur.data.detection_set import AnnotatedPicture
from secateur.data.loaders import read_picture
from secateur.data.unannotated import copy_paths, find_pictures, find_videos
from secateur.data.video import Video, video_copy
from secateur.errors import DataError, ModelError
from secateur.files.atomic_write import atomic_write, write_json
from secateur.files.progress import Bar
from secateur.inference.draw import draw_detections
from secateur.inference.predictor import OpenNetwork, find_all, find_in_picture, open_network
from secateur.runtimes.table import Runtime
from secateur.tasks.detection.average_precision import Detections

Found = dict[str, list[dict[str, Any]]]


def detect_and_draw(
    model: Path,
    paths: Sequence[Path],
    out: Path,
    score: float,
    bar: Bar,
    runtime: Runtime | None = None,
) -> Found:
    """Find objects, and write drawn copies and ``detections.json`` to a folder.

    Args:
        model: the network file, of secateur's own format, ONNX or OpenVINO.
        paths: pictures, videos, and folders of pictures.
        out: the folder; made if absent.
        score: least confidence, 0 to 1.
        bar: shows progress.
        runtime: what runs the network; None for the format's own.

    Returns:
        For each picture its objects, the surest first: ``class``, ``score`` and ``box``, which is
        ``x1, y1, x2, y2`` in pixels; for each video likewise, with ``frame``, from 0, and
        ``time`` in seconds.

    Raises:
        ModelError: the file is no network, or finds no boxes.
        DataError: a picture is missing or unreadable, or a copy would replace it.
        RunError: the folder cannot be written to.
    """
    network = open_network(model, runtime, settings=Evaluate(score=score, batch_size=1))
    if network.find is None:
        raise ModelError(f"{model}: is a classifier and finds no boxes; give a detector")
    videos, rest = find_videos(paths)
    pictures = find_pictures(rest)
    copies = copy_paths([*(p.path for p in pictures), *videos], out)
    found = _detect_pictures(network, pictures, copies, score, bar)
    if found:
        write_json(out / "detections.json", found)
    for video, copy in zip(videos, copies[len(pictures) :], strict=True):
        found[str(video)] = _detect_video(network, video, copy, score, bar)
        write_json(out / "detections.json", found)  # at once, for the next may break off
    return found


def _detect_pictures(
    network: OpenNetwork,
    pictures: Sequence[AnnotatedPicture],
    copies: Sequence[Path],
    score: float,
    bar: Bar,
) -> Found:
    classes = network.description.classes
    with bar("finding", len(pictures)) as advance:
        # One at a time: people's pictures differ in shape, and may be large.
        detections = find_all(network, pictures, 1, advance=advance)
    listed: Found = {}
    with bar("drawing", len(pictures)) as advance:
        for picture, copy, each in zip(pictures, copies, detections, strict=False):
            sure = _surer(each, score)
            drawn = draw_detections(read_picture(picture), sure, classes)
            with atomic_write(copy) as draft:
                # The draft's name has another ending, so the format is named.
                drawn.save(draft, drawn_format(copy), quality=95)
            listed[str(picture.path)] = _listed(sure, classes)
            advance(1)
    return listed


def _detect_video(
    network: OpenNetwork, path: Path, copy: Path, score: float, bar: Bar
) -> list[dict[str, Any]]:
    classes = network.description.classes
    listed: list[dict[str, Any]] = []
    frames = 0
    with (
        closing(Video(path)) as video,
        bar(f"finding in {path.name}", max(1, video.frames)) as advance,
        atomic_write(copy) as draft,
        video_copy(draft, video.rate) as written,
    ):
        for number, (pixels, seconds) in enumerate(video):
            found = _surer(find_in_picture(network, pixels, str(path)), score)
            written.write(draw_detections(pixels, found, classes))
            when = {"frame": number, "time": round(seconds, 3)}
            listed += [{**each, **when} for each in _listed(found, classes)]
            frames += 1
            advance(1)
        if frames == 0:
            raise DataError(f"{path}: has no frame that can be read; give another video")
    return listed


def _surer(found: Detections, score: float) -> Detections:
    """What has at least a confidence; an exported file may give more, and weights make nonsense."""
    sure = (found.scores >= score) & found.boxes.isfinite().all(1)
    return Detections(found.boxes[sure], found.labels[sure], found.scores[sure])


def _listed(found: Detections, classes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "class": classes[int(found.labels[i]) - 1],
            "score": round(float(found.scores[i]), 4),
            "box": [round(side, 1) for side in found.boxes[i].tolist()],
        }
        for i in found.scores.argsort(descending=True).tolist()
    ]


def drawn_format(path: Path) -> str:
    """Give Pillow's name of a picture file's format."""
    kind = path.suffix.lower().removeprefix(".")
    return "jpeg" if kind == "jpg" else kind
