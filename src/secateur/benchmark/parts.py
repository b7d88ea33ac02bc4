"""What of a network can be timed, loaded and ready to run."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.ssd import SSD

from secateur.benchmark.job import Job
from secateur.benchmark.network_alone import cut_onnx, cut_openvino
from secateur.benchmark.rounds import Part
from secateur.errors import ModelError
from secateur.export.graph import Classifier, RawDetector
from secateur.export.source import load_source
from secateur.runtimes.description import Description
from secateur.runtimes.onnx_runtime import onnx_session, open_onnx
from secateur.runtimes.openvino_runtime import compile_openvino, open_openvino
from secateur.tasks.detection.postprocessing import postprocess

# Runs a part once on pictures as ``pictures_for`` gives them.
Run = Callable[[Any], object]


def pictures_for(job: Job) -> list[Any]:
    """Give the batches as the runtime takes them."""
    if job.runtime != "torch":
        return list(job.pictures)
    form = torch.channels_last
    return [torch.from_numpy(each).contiguous(memory_format=form) for each in job.pictures]


def parts(job: Job) -> Iterator[tuple[Part, Run]]:
    """Load one part after the other, first the one that people use.

    Raises:
        SecateurError: it cannot be loaded.
    """
    if job.runtime == "torch":
        return _torch(job)
    return _onnxruntime(job) if job.runtime == "onnxruntime" else _openvino(job)


def _torch(job: Job) -> Iterator[tuple[Part, Run]]:
    torch.set_num_threads(job.threads)
    source = load_source(job.model)
    ssd = source.model
    height, width = job.pictures[0].shape[-2:]
    graph: nn.Module
    if isinstance(ssd, SSD):
        graph = RawDetector(ssd, (height, width))
    else:
        graph = Classifier(ssd, source.mean, source.std)
    # Measured on SSD300 in single precision: with channels last it is much quicker.
    graph = graph.eval().to(memory_format=torch.channels_last)
    run = _compiled(graph, job) if job.compiled else graph

    def network(pictures: Tensor) -> Any:
        with torch.inference_mode():
            return run(pictures)

    if not isinstance(ssd, SSD):
        yield "whole", network
        return

    def whole(pictures: Tensor) -> object:
        logits, offsets, boxes = network(pictures)
        return postprocess(
            logits,
            offsets,
            boxes,
            (height, width),
            score_thresh=ssd.score_thresh,
            nms_thresh=ssd.nms_thresh,
            candidates=ssd.topk_candidates,
            detections=ssd.detections_per_img,
        )

    yield "whole", whole
    yield "network", network


def _compiled(graph: nn.Module, job: Job) -> Callable[[Tensor], Any]:
    # By this process itself: helpers would outlive the compiling and count as memory.
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    compiled: Callable[[Tensor], Any] = torch.compile(graph)
    try:
        with torch.inference_mode():
            compiled(pictures_for(job)[0])
    except Exception as error:  # of many modules inside torch
        reason = next(filter(None, str(error).splitlines()), type(error).__name__)[:200]
        raise ModelError(
            f"{job.model}: torch.compile fails ({reason}); it needs a C++ compiler, such as g++; "
            "install one, or leave out --compile"
        ) from None
    return compiled


def _onnxruntime(job: Job) -> Iterator[tuple[Part, Run]]:
    assert job.file is not None  # noqa: S101 # every job but torch's has one
    session = open_onnx(job.file, job.threads)
    yield _first(session.description), session.run
    if _has_both(session.description) and (cut := cut_onnx(job.file)) is not None:
        alone = onnx_session(cut, job.threads, job.file)
        yield "network", lambda pictures: alone.run(None, {"pictures": pictures})


def _openvino(job: Job) -> Iterator[tuple[Part, Run]]:
    assert job.file is not None  # noqa: S101 # as above
    session = open_openvino(job.file, job.threads)
    yield _first(session.description), session.run
    if _has_both(session.description) and (cut := cut_openvino(job.file)) is not None:
        single = session.description.precision != "fp16"
        yield "network", compile_openvino(cut, job.threads, single=single)


def _first(description: Description) -> Part:
    return "network" if description.outputs == "raw" else "whole"


def _has_both(description: Description) -> bool:
    return description.outputs == "objects"
