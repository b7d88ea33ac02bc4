"""Objects found in pictures and videos, drawn on copies and listed in a file."""

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
from secateur.inference.predictor import Predictor, open_predictor
from secateur.tasks.detection.detections import Detections

Found = dict[str, list[dict[str, Any]]]


def detect_and_draw(
    model: Path,
    paths: Sequence[Path],
    out: Path,
    score: float,
    bar: Bar,
    runtime: str | None = None,
) -> Found:
    """Find objects, and write drawn copies and ``detections.json`` to a folder.

    Args:
        model: a network file of any format.
        paths: pictures, videos, and folders of pictures.
        out: the folder; created if missing.
        score: smallest confidence, 0 to 1.
        bar: shows progress.
        runtime: a name from ``RUNTIMES``; None for the default of the format.

    Returns:
        For each picture its objects, highest score first: ``class``, ``score`` and ``box``
        (``x1, y1, x2, y2`` in pixels). For each video the same with ``frame``, from 0, and
        ``time`` in seconds.

    Raises:
        ModelError: the file is not a network, or is a classifier.
        DataError: a picture is missing or unreadable, or a copy would overwrite it.
        RunError: the folder cannot be written to.
    """
    predictor = open_predictor(model, runtime, settings=Evaluate(score=score, batch_size=1))
    if predictor.header.task != "detector":
        raise ModelError(f"{model}: is a classifier and finds no boxes; give a detector")
    videos, rest = find_videos(paths)
    pictures = find_pictures(rest)
    copies = copy_paths([*(p.path for p in pictures), *videos], out)
    found = _detect_pictures(predictor, pictures, copies, score, bar)
    if found:
        write_json(out / "detections.json", found)
    for video, copy in zip(videos, copies[len(pictures) :], strict=True):
        found[str(video)] = _detect_video(predictor, video, copy, score, bar)
        write_json(out / "detections.json", found)  # after each, because the next may fail
    return found


def _detect_pictures(
    predictor: Predictor,
    pictures: Sequence[AnnotatedPicture],
    copies: Sequence[Path],
    score: float,
    bar: Bar,
) -> Found:
    classes = predictor.header.classes
    with bar("finding", len(pictures)) as advance:
        # One at a time: the pictures may be large and differ in size.
        detections = predictor.detect_files(pictures, 1, advance=advance)
    listed: Found = {}
    with bar("drawing", len(pictures)) as advance:
        for picture, copy, each in zip(pictures, copies, detections, strict=False):
            confident = _confident(each, score)
            drawn = draw_detections(read_picture(picture), confident, classes)
            with atomic_write(copy) as draft:
                # The format is named because the draft has another suffix.
                drawn.save(draft, _drawn_format(copy), quality=95)
            listed[str(picture.path)] = _listed(confident, classes)
            advance(1)
    return listed


def _detect_video(
    predictor: Predictor, path: Path, copy: Path, score: float, bar: Bar
) -> list[dict[str, Any]]:
    classes = predictor.header.classes
    listed: list[dict[str, Any]] = []
    frames = 0
    with (
        closing(Video(path)) as video,
        bar(f"finding in {path.name}", max(1, video.frames)) as advance,
        atomic_write(copy) as draft,
        video_copy(draft, video.rate) as written,
    ):
        for number, (pixels, seconds) in enumerate(video):
            found = _confident(predictor.detect_picture(pixels, str(path)), score)
            written.write(draw_detections(pixels, found, classes))
            when = {"frame": number, "time": round(seconds, 3)}
            listed += [{**each, **when} for each in _listed(found, classes)]
            frames += 1
            advance(1)
        if frames == 0:
            raise DataError(f"{path}: has no readable frame; give another video")
    return listed


def _confident(found: Detections, score: float) -> Detections:
    """Keep finite boxes of at least this score; an exported file may have a lower threshold."""
    kept = (found.scores >= score) & found.boxes.isfinite().all(1)
    return Detections(found.boxes[kept], found.labels[kept], found.scores[kept])


def _listed(found: Detections, classes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "class": classes[int(found.labels[i]) - 1],
            "score": round(float(found.scores[i]), 4),
            "box": [round(side, 1) for side in found.boxes[i].tolist()],
        }
        for i in found.scores.argsort(descending=True).tolist()
    ]


def _drawn_format(path: Path) -> str:
    """Return Pillow's name of a picture file's format."""
    suffix = path.suffix.lower().removeprefix(".")
    return "jpeg" if suffix == "jpg" else suffix
