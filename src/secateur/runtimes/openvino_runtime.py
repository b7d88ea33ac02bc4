"""OpenVINO files, and ONNX files, run by OpenVINO."""

from pathlib import Path
from typing import Any

from secateur.errors import ModelError
from secateur.files.file_kind import file_kind
from secateur.runtimes.description import KEY, Description
from secateur.runtimes.openvino_core import openvino_core
from secateur.runtimes.session import Arrays, Pictures, Session, foreign


def open_openvino(path: Path, threads: int | None = None) -> Session:
    """Open an OpenVINO or ONNX file that ``secateur export`` wrote.

    Args:
        path: of the ``.xml``, beside which lies its ``.bin``, or of the ``.onnx``.
        threads: processor threads; None for one a core.

    Raises:
        ModelError: the file is unreadable, or not of ours.
        MissingExtraError: OpenVINO is not installed.
    """
    core = openvino_core()
    if path.suffix == ".xml" and not path.with_suffix(".bin").is_file():
        raise ModelError(
            f"{path.with_suffix('.bin')}: no such file; it holds the weights of {path.name}, keep "
            "the two together"
        )
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:200]
        raise ModelError(
            f"{path}: OpenVINO cannot read it ({reason}); it is {file_kind(path)}; give a whole "
            "file that secateur export wrote"
        ) from None
    # OpenVINO puts the metadata of an ONNX file one level down.
    places = [place for place in ([KEY], ["framework", KEY]) if model.has_rt_info(place)]
    text = str(model.get_rt_info(places[0]).value) if places else None
    description = Description.parse(text)
    if description is None:
        raise foreign(path, "an OpenVINO file")
    compiled = compile_openvino(model, threads, single=description.precision != "fp16")
    outputs = list(compiled.outputs)

    def run(pictures: Pictures) -> Arrays:
        found = compiled(pictures)
        return [found[output] for output in outputs]

    return Session(description, run)


def compile_openvino(model: Any, threads: int | None, *, single: bool) -> Any:
    """Compile a model for the processor, for one picture after the other.

    Args:
        model: of OpenVINO.
        threads: processor threads; None for one a core.
        single: whether it computes in single precision; otherwise as OpenVINO finds best, which
            is bfloat16 on processors that have it.
    """
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if single:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    return openvino_core().compile_model(model, "CPU", settings)
