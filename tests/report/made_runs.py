"""Run folders written by hand, record by record, with networks of known weights."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import Recipe
from secateur.files.atomic_write import write_json
from secateur.models.architecture import Architecture
from secateur.models.network import build_network, layer_widths, layers
from secateur.models.network_file import save_network
from secateur.run.records import (
    AttemptSummary,
    ByClassRecord,
    ClassifierExamples,
    ClassifierPicture,
    CurveRecord,
    DetectorExamples,
    DetectorPicture,
    EvaluationRecord,
    ExamplesRecord,
    FoundRecord,
    PhaseSummary,
    PredictedClass,
    Provenance,
    Record,
    RemovalRecord,
    SelectedRecord,
    StageList,
    StepRecord,
    Summary,
    ThresholdRecord,
    TrainingRecord,
    TrialRecord,
    TruthRecord,
    write_record,
)

# Names that a page must show as they are, and a spreadsheet must not evaluate.
SQUARE, DISC = "<b onclick=alert(1)>square</b>", "=disc & 'round'"
CLASSES = {"detection": (SQUARE, DISC), "classification": ("disc", "square [2]")}

DETECTOR: dict[str, Any] = {
    "name": "tiny",
    "data": {
        "format": "voc",
        "root": "pictures",
        "train": "train",
        "test": "test",
        "classes": [SQUARE, DISC],
        "validation": 0.25,
        "workers": 0,
    },
    "model": {
        "size": 64,
        "widths": 0.04,
        "batch_norm": True,
        "detection_layers": 3,
        "scales": [0.2, 0.35, 0.6, 0.9],
    },
    "train": {"steps": 60, "batch_size": 4, "optimizer": "adamw", "lr": 0.003},
    "compress": {
        "phases": [
            {"layers": "conv1_1-conv4_3"},
            {"layers": "conv4_3-conv8_2", "select": {"s_F": 0.7, "s_F_both": 0.4, "s_G": 0.5}},
        ],
        "sparsify": {"steps": 20, "batch_size": 4, "lr": 0.01, "strength": 0.05},
        "threshold": {"max_drop": 5, "resolution": 0.2},
        "select": {"keep_params": 0.5, "min_filters": 1},
        "retrain": {"steps": 40, "batch_size": 4, "optimizer": "adamw", "lr": 0.003},
    },
}
CLASSIFIER: dict[str, Any] = {
    "name": "shapes",
    "data": {"format": "folders", "root": "shapes", "validation": 0.25},
    "model": {"network": "vgg16", "size": 32, "widths": 0.06, "hidden": [128], "pool": 1},
    "train": {"steps": 15, "batch_size": 8, "optimizer": "adamw", "lr": 0.003},
    "compress": {
        "phases": [{"layers": "conv1_1-fc6"}],
        "sparsify": {"steps": 10, "batch_size": 8, "optimizer": "adamw", "strength": 0.01},
        "threshold": {"max_drop": 20, "resolution": 0.2},
        "select": {"keep_params": 0.4, "min_filters": 1},
        "retrain": {"steps": 5, "batch_size": 8, "optimizer": "adamw", "lr": 0.003},
    },
}
THRESHOLD = 0.01
# Layers that each phase sparsifies, and those that it takes one filter from.
PHASES = {
    "detection": (
        (("conv1_1", "conv3_1", "conv4_3"), ("conv3_1",)),
        (("conv4_3", "conv6", "conv8_2"), ("conv4_3", "conv6")),
    ),
    "classification": ((("conv1_1", "conv3_1", "fc6"), ("conv3_1", "fc6")),),
}
METRICS = {
    "dense": 90.0,
    "sparsified": 85.0,
    "thresholded": 82.0,
    "removed": 40.0,
    "retrained": 88.0,
}


class MadeRun:
    """A run folder in the making: each method adds a stage."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any], task: str) -> None:
        self.folder = folder
        self.task = task
        self.recipe = Recipe.model_validate(recipe)
        self.metric = self.recipe.evaluate.metric
        self.names: list[str] = []
        self.phases: list[PhaseSummary] = []
        torch.manual_seed(0)
        self.architecture = recipe_architecture(self.recipe, CLASSES[task])
        self.model = build_network(self.architecture).eval()
        write_json(folder / "recipe.json", self.recipe.model_dump(mode="json"))

    def stage(self, name: str, result: Record, model: nn.Module | None = None) -> Path:
        """Write a stage, and the network that it made."""
        path = self.folder / "steps" / name
        record = StepRecord(output_key=name, result_key=name, seconds=61.5, result=result)
        if model is not None:
            save_network(path / "network.safetensors", model, self.architecture, {})
        write_record(path / "step.json", record)
        self.names.append(name)
        write_record(self.folder / "steps.json", StageList(steps=self.names, phases=self.phases))
        return path

    def training(self, kind: Any, metric: float, **entries: Any) -> TrainingRecord:
        """A training's record, with a loss that falls."""
        metrics = {self.metric: metric}
        return TrainingRecord(kind=kind, metrics=metrics, loss=[4.0, 2.0, 1.5], **entries)

    def phase(
        self, sparsified: tuple[str, ...], cut: tuple[str, ...], held: tuple[bool, ...] = ()
    ) -> None:
        """Write a phase; with ``held``, its attempts for ``max_drop``."""
        number, before = len(self.phases) + 1, self.model
        paths = layers(before)
        name = f"phase{number}"
        sparse = with_zeros(before, [paths[layer] for layer in sparsified], THRESHOLD / 2)
        self.stage(
            f"{name}-sparsify",
            self.training(
                "sparsify",
                METRICS["sparsified"],
                phase=number,
                zeros=0.25,
                strength=0.05,
                layers=[paths[layer] for layer in sparsified],
            ),
            sparse,
        )
        found = ThresholdRecord(
            phase=number,
            metrics={self.metric: METRICS["thresholded"]},
            threshold=THRESHOLD,
            zeros=0.5,
            status="found",
            trace=[
                TrialRecord(threshold=0.04, zeros=0.9, metric=20.0, pictures=2),
                TrialRecord(threshold=THRESHOLD, zeros=0.5, metric=METRICS["thresholded"]),
            ],
        )
        thresholded = with_zeros(sparse, [paths[layer] for layer in sparsified], THRESHOLD)
        self.stage(f"{name}-threshold", found, thresholded)
        slim = without_last_filter(self.architecture, sparse, cut)
        taken, networks = None, [before]
        for attempt, within in enumerate(held or (None,), 1):
            tag = f"{name}-try{attempt}" if held else name
            own = {"phase": number, "attempt": attempt if held else None}
            self.stage(f"{tag}-remove", self.removal(sparse, slim, cut, own), slim)
            metric = METRICS["retrained"] if within in (None, True) else 10.0
            self.stage(f"{tag}-retrain", self.training("retrain", metric, **own), slim)
            if within in (None, True):
                taken, networks = attempt if held else None, [slim]
        self.model = networks[0]
        self.phases.append(
            PhaseSummary(
                layers=self.recipe.compress.phases[number - 1].layers,
                criterion="sparsity",
                penalty="proximal",
                strength=0.05,
                group_strength=0.0,
                zeros=0.25,
                threshold=found,
                round_to=1,
                rounding=None,
                filters_before=layer_widths(before),
                filters_after=layer_widths(self.model),
                metrics={},
                slim_minus_masked=1e-9,
                attempts=[
                    AttemptSummary(share=0.5**n, metric=88.0 if within else 10.0, held=within)
                    for n, within in enumerate(held, 1)
                ],
                taken=taken,
            )
        )
        write_record(self.folder / "steps.json", StageList(steps=self.names, phases=self.phases))

    def removal(
        self, before: nn.Module, after: nn.Module, cut: tuple[str, ...], own: dict[str, Any]
    ) -> RemovalRecord:
        """A removal's record: the last filter of each layer has the most zeros."""
        counts = {layers(before)[layer]: layer_widths(before)[layer] for layer in cut}
        return RemovalRecord(
            **own,
            metrics={self.metric: METRICS["removed"]},
            slim_minus_masked=1e-9,
            removed=len(cut),
            params=parameters(after),
            macs=1000 * parameters(after),
            selection={
                path: SelectedRecord(
                    kept=list(range(count - 1)),
                    F=[0.25] * (count - 1) + [1.0],
                    G=[0.5] * (count - 1) + [1.0],
                )
                for path, count in counts.items()
            },
        )

    def evaluate(self, role: Any, model: nn.Module, metrics: dict[str, float]) -> EvaluationRecord:
        """Write the evaluation of a network, with its accuracy by class."""
        save_network(self.folder / f"{role}.safetensors", model, self.architecture, {})
        found = EvaluationRecord(
            network=role,
            params=parameters(model),
            macs=1000 * parameters(model),
            bytes=4 * parameters(model),
            metrics=metrics,
            filters=layer_widths(model),
            input=(3, self.architecture.size, self.architecture.size),
        )
        folder = self.stage(f"evaluate-{role}", found)
        first, second = CLASSES[self.task]
        value = metrics[self.metric]
        if self.task == "detection":
            curve = CurveRecord(recall=[0.0, 1.0], precision=[1.0, value / 100])
            classes = ByClassRecord(
                by_class={
                    first: {"AP50_area": value + 2, "objects": 5},
                    second: {"AP50_area": value - 2, "objects": 3},
                },
                curves={first: curve, second: curve},
            )
        else:
            wrong = 1 if role == "slim" else 0
            classes = ByClassRecord(
                by_class={
                    first: {"top1": 100.0, "pictures": 6},
                    second: {"top1": 100 * (6 - wrong) / 6, "pictures": 6},
                },
                confusion=[[6, 0], [wrong, 6 - wrong]],
            )
        write_record(folder / "by_class.json", classes)
        return found

    def examples(self) -> None:
        """Write example pictures: four of a detector, or the one mistake of a classifier."""
        folder = self.folder / "steps" / "examples"
        folder.mkdir(parents=True)
        first, second = CLASSES[self.task]
        if self.task == "classification":
            Image.new("RGB", (40, 36), "white").save(folder / "01.png")
            mistake = ClassifierPicture(
                file="01.png",
                name="test/square [2]/25.png",
                truth=second,
                dense=PredictedClass(**{"class": second, "score": 0.75}),
                slim=PredictedClass(**{"class": first, "score": 0.9}),
            )
            found: Any = ClassifierExamples(kind="classifier", pictures=[mistake])
        else:
            pictures = []
            for number, kind in enumerate(("worst", "lost", "best", "typical"), 1):
                Image.new("RGB", (72, 64), "green").save(folder / f"{number:02}.jpg")
                pictures.append(detector_picture(kind, number, first, second))
            found = DetectorExamples(kind="detector", least_score=0.05, pictures=pictures)
        self.stage("examples", ExamplesRecord(examples=found))

    def summarise(self, dense: EvaluationRecord, slim: EvaluationRecord) -> None:
        """Write the summary: the run is finished."""
        write_record(
            self.folder / "summary.json",
            Summary(
                name=self.recipe.name,
                metric=self.metric,
                split=self.recipe.data.test or "validation",
                dense=dense,
                slim=slim,
                phases=self.phases,
                seed=self.recipe.seed,
                recipe=self.recipe.model_dump(mode="json"),
                provenance=Provenance(
                    versions={"torch": "2.11"},
                    machine={"processor": "none", "accelerator": None},
                    date="2026-01-02T03:04:05+00:00",
                ),
                seconds=dict.fromkeys(self.names, 61.5),
            ),
        )


def make_run(folder: Path, recipe: Mapping[str, Any], task: str) -> Path:
    """Write the folder of a finished run."""
    run = MadeRun(folder, recipe, task)
    dense = run.model
    run.stage("dense", run.training("dense", METRICS["dense"]), dense)
    for sparsified, cut in PHASES[task]:
        run.phase(sparsified, cut)
    other = "AP50_voc07" if task == "detection" else "top5"
    before = run.evaluate("dense", dense, {run.metric: 90.0, other: 91.0})
    after = run.evaluate("slim", run.model, {run.metric: 87.5, other: 88.0})
    run.examples()
    run.summarise(before, after)
    return folder


def detector_picture(kind: Any, number: int, first: str, second: str) -> DetectorPicture:
    """One object, which both networks find; the slim one is also wrong, twice."""

    def found(name: str, x: float, score: float, outcome: Any) -> FoundRecord:
        entries = {"class": name, "box": (x, 10, x + 20, 30), "score": score, "outcome": outcome}
        return FoundRecord.model_validate(entries)

    return DetectorPicture(
        kind=kind,
        file=f"{number:02}.jpg",
        name=f"test/{number:02}.jpg",
        width=72,
        height=64,
        truth=[TruthRecord.model_validate({"class": first, "box": (10, 10, 30, 30)})],
        dense=[found(first, 11, 0.95, "hit")],
        slim=[
            found(first, 12, 0.8, "hit"),
            found(second, 40, 0.45, "false"),
            found(second, 5, 0.1, "false"),
        ],
    )


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def with_zeros(model: nn.Module, paths: list[str], least: float) -> nn.Module:
    """A copy in which the weights of smaller magnitude are zero, layer by layer."""
    sparse = deepcopy(model)
    for path in paths:
        weight = sparse.get_parameter(f"{path}.weight")
        weight.data[weight.abs() < least] = 0
    return sparse


def without_last_filter(
    architecture: Architecture, model: nn.Module, cut: tuple[str, ...]
) -> nn.Module:
    """A network whose named layers have one filter less; other weights are the model's."""
    widths = {name: count - (name in cut) for name, count in layer_widths(model).items()}
    slim = build_network(architecture.model_copy(update={"widths": widths})).eval()
    state = model.state_dict()
    slim.load_state_dict(
        {name: state[name][tuple(map(slice, t.shape))] for name, t in slim.state_dict().items()}
    )
    return slim
