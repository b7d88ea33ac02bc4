"""The phase: its steps by hand, and what both doors have in common."""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateur
from commands import Outcome
from secateur.config.recipe import load_recipe
from secateur.data.source import read_splits
from secateur.errors import PruningError
from secateur.models.network import example_input, raw_network
from secateur.models.network_file import load_network
from secateur.pruning.criteria.importance import Importance, Scored
from secateur.pruning.criteria.table import CRITERIA, Criterion
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.penalties.l1 import L1Subgradient
from secateur.pruning.penalties.penalty import Penalties
from secateur.pruning.penalties.table import PENALTIES, Penalized, PenaltyKind
from secateur.pruning.phase import Phase, Size, run_phase
from secateur.pruning.selection.measured_rounding import WidthSteps
from secateur.pruning.sparsity import prunable_weights
from secateur.run.phases import recipe_phases
from secateur.run.records import RemovalRecord, StepRecord, ThresholdRecord, read_record
from secateur.tasks.task import task_of
from secateur.training.loop import Objective
from tiny_recipe import TINY, write_recipe

torch.set_num_threads(1)


# ---- the flow ----------------------------------------------------------------------------------


class Notes:
    """Steps that only write down what they are asked; a network is its name."""

    def __init__(self, metrics: list[float], graph: ChannelGraph) -> None:
        self.metrics = iter(metrics)
        self.found = graph
        self.asked: list[str] = []

    def sparsify(self, phase: Phase, before: str) -> tuple[str, float]:  # noqa: ARG002
        self.asked.append(f"sparsify {before}")
        return "sparse", 90.0

    def threshold(self, phase: Phase, sparse: str, reference: float) -> str:  # noqa: ARG002
        self.asked.append(f"threshold {sparse} from {reference:g}")
        return "thresholded"

    def graph(self, network: str) -> ChannelGraph:
        self.asked.append(f"graph {network}")
        return self.found

    def remove(
        self,
        phase: Phase,  # noqa: ARG002
        sparse: str,
        thresholded: str,
        size: Size,
    ) -> tuple[str, float]:
        params = None if size.budget is None else size.budget.params
        self.asked.append(f"remove {sparse} by {thresholded} to {params}")
        return f"slim{size.attempt or ''}", 42.0

    def retrain(self, phase: Phase, slim: str, size: Size) -> tuple[str, float]:  # noqa: ARG002
        self.asked.append(f"retrain {slim}")
        return f"{slim} retrained", next(self.metrics)

    def say(self, text: str) -> None:
        self.asked.append(text.strip())


def chain() -> ChannelGraph:
    """1×1 convolutions 2 → 4 → 2 without biases: 16 parameters, 4 for each channel between."""
    layers = (nn.Conv2d(2, 4, 1, bias=False), nn.Conv2d(4, 2, 1, bias=False))
    return channel_groups(nn.Sequential(*layers), torch.zeros(1, 2, 3, 3))


def phase(criterion: str = "sparsity", floor: float | None = None, **goal: Any) -> Phase:
    selection = secateur.SelectionSettings(criterion=criterion, min_filters=1)
    kind = CRITERIA[criterion].penalty or "proximal"
    method = secateur.Method(secateur.PenaltySettings(kind), selection=selection)
    return Phase(1, ("0",), secateur.Goal(**goal), method, secateur.Budget(params=10), floor)


@pytest.mark.parametrize(
    ("criterion", "before_removal"),
    [
        ("sparsity", ["sparsify dense", "threshold sparse from 90"]),
        ("norm_scale", ["sparsify dense"]),
        ("l1", []),
    ],
)
def test_steps_that_a_criterion_needs(criterion: str, before_removal: list[str]) -> None:
    steps = Notes([80.0], chain())
    outcome = run_phase(phase(criterion, keep_macs=0.5), "dense", steps)
    removal = {
        "sparsity": "remove sparse by thresholded to 10",
        "norm_scale": "remove sparse by sparse to 10",
        "l1": "remove dense by dense to 10",
    }[criterion]
    assert steps.asked == [*before_removal, removal, "retrain slim"]
    assert (outcome.network, outcome.taken) == ("slim retrained", 0)
    (attempt,) = outcome.attempts
    assert (attempt.keep, attempt.metric, attempt.held) == (None, 80.0, True)


def test_without_training_the_removal_is_all() -> None:
    steps = Notes([], chain())
    given = phase("l1", keep_macs=0.5)
    outcome = run_phase(
        replace(given, method=replace(given.method, training=False)), "dense", steps
    )
    assert steps.asked == ["remove dense by dense to 10"]
    assert (outcome.network, outcome.attempts[0].metric) == ("slim", 42.0)


def test_largest_drop_takes_the_smallest_size_that_held() -> None:
    # Sizes between 4 parameters (one channel) and 16: at 0.5, 10; then 13, then 11.5.
    steps = Notes([88.0, 89.5, 88.5], chain())
    outcome = run_phase(phase("l1", floor=89.0, max_drop=1.0, attempts=3), "dense", steps)
    assert [each for each in steps.asked if each.startswith("remove")] == [
        "remove dense by dense to 10",
        "remove dense by dense to 13",
        "remove dense by dense to 11",
    ]
    assert [(a.keep, a.metric, a.held) for a in outcome.attempts] == [
        (0.5, 88.0, False),
        (0.75, 89.5, True),
        (0.625, 88.5, False),
    ]
    assert (outcome.network, outcome.taken) == ("slim2 retrained", 1)


def test_no_size_that_holds_leaves_the_network() -> None:
    steps = Notes([0.0, 0.0], chain())
    outcome = run_phase(phase("l1", floor=89.0, max_drop=1.0, attempts=2), "dense", steps)
    assert (outcome.network, outcome.taken) == ("dense", None)
    assert steps.asked[-1] == "no size holds the drop: the phase leaves the network as it was"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"criterion": "l3"}, "no criterion 'l3'; take sparsity, "),
        ({"min_filters": 0}, "min_filters is 0"),
        ({"balance": -1.0}, "balance is -1"),
        ({"criterion": "l1", "round_to": 8}, "round_to needs allocation: cost"),
    ],
)
def test_selection_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(PruningError, match=message):
        secateur.SelectionSettings(**settings)


@pytest.mark.parametrize(
    ("criterion", "penalty", "fits"),
    [
        ("sparsity", "proximal", True),
        ("norm_scale", "norm_scale", True),
        ("norm_scale", "proximal", False),
        ("sparsity", "norm_scale", False),
        ("l1", "proximal", True),
    ],
)
def test_penalties_and_criteria_that_go_together(criterion: str, penalty: str, fits: bool) -> None:
    def method() -> secateur.Method:
        selection = secateur.SelectionSettings(criterion=criterion)
        return secateur.Method(secateur.PenaltySettings(penalty), selection=selection)

    if fits:
        assert method().selection.criterion == criterion
    else:
        with pytest.raises(PruningError, match=r"norm_scale .* go together"):
            method()


# ---- a criterion and a penalty of one's own ----------------------------------------------------


def test_a_criterion_and_a_penalty_are_a_function_and_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def last_first(scored: Scored) -> Importance:
        channels = {name: scored.graph.groups[name].units for name in scored.groups}
        return {name: -torch.arange(count).double() for name, count in channels.items()}

    def half(network: Penalized, strength: float | None) -> Penalties:
        weights = prunable_weights(network.model, network.graph, network.groups)
        names = {parameter: name for name, parameter in network.model.named_parameters()}
        penalty = L1Subgradient(weights, (strength or 1.0) / 2)
        return Penalties([penalty], {names[w]: w for w in weights}, penalty.strength)

    monkeypatch.setitem(
        CRITERIA, "last", Criterion(last_first, "the last first", penalty="half", sparsifies=True)
    )
    monkeypatch.setitem(PENALTIES, "half", PenaltyKind(half, "half of it"))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    result = secateur.compress(
        model,
        torch.randn(2, 2, 3, 3),
        secateur.Goal(keep_macs=0.5),
        train=_train,
        evaluate=lambda _: 1.0,
        method=secateur.Method(
            secateur.PenaltySettings("half", 0.5),
            selection=secateur.SelectionSettings("last", min_filters=1),
        ),
    )
    assert result.kept["0"].tolist() == [0, 1]
    assert (result.phases[0].strength, result.phases[0].threshold) == (0.25, None)
    assert list(result.phases[0].metric) == ["sparsified", "removed", "retrained"]


@pytest.fixture
def secateur_command(request: pytest.FixtureRequest) -> Callable[..., Outcome]:
    """The command line, under another name than the package."""
    command: Callable[..., Outcome] = request.getfixturevalue("secateur")
    return command


def _train(model: nn.Module, penalty: Penalties) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    penalty.attach(optimizer)
    model(torch.ones(2, 2, 3, 3)).square().mean().backward()
    optimizer.step()


# ---- what the library offers as a recipe does --------------------------------------------------


def _net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 1)
    ).eval()


BATCHES = [torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(n)) for n in range(3)]


def _compressed(model: nn.Module, **changes: Any) -> secateur.Result:
    return secateur.compress(
        model,
        BATCHES[0],
        secateur.Goal(keep_macs=0.5),
        **{"train": lambda *_: None, "evaluate": lambda _: 1.0, **changes},
    )


def _l1(**removal: bool) -> secateur.Method:
    return secateur.Method(
        selection=secateur.SelectionSettings("l1"), removal=secateur.RemovalSettings(**removal)
    )


def test_calibration_folds_means_and_reestimates_norms() -> None:
    model = _net()
    plain = _compressed(model, method=_l1()).model  # without batches neither is done
    calibration = secateur.Calibration(BATCHES)
    method = _l1(reconstruct=False, reestimate_norms=False)
    folded = _compressed(model, method=method, calibration=calibration).model
    kept = _compressed(model, method=_l1()).kept["0"]
    removed = [i for i in range(8) if i not in kept.tolist()]
    with torch.no_grad():
        maps = torch.cat([model[:3](x) for x in BATCHES]).movedim(1, 0).flatten(1).mean(1)
        lost = model[3].weight[:, removed, 0, 0] @ maps[removed]
    torch.testing.assert_close(folded[3].bias - plain[3].bias, lost)
    assert torch.equal(folded[1].running_mean, plain[1].running_mean)
    renormed = _compressed(
        model, method=_l1(reconstruct=False, fold_means=False), calibration=calibration
    ).model
    with torch.no_grad():
        means = torch.stack([renormed[0](x).mean((0, 2, 3)) for x in BATCHES]).mean(0)
    torch.testing.assert_close(renormed[1].running_mean, means)


def test_a_criterion_that_needs_the_loss() -> None:
    method = secateur.Method(selection=secateur.SelectionSettings("taylor"))
    with pytest.raises(PruningError, match="taylor needs the loss"):
        _compressed(_net(), method=method, calibration=secateur.Calibration(BATCHES))

    def loss(network: nn.Module, batch: Tensor) -> Tensor:
        return network(batch).square().mean()

    calibration = secateur.Calibration(BATCHES, loss=loss)
    first = _compressed(_net(), method=method, calibration=calibration)
    assert len(first.kept["0"]) == 4


def test_distillation_pulls_at_the_outputs_in_retraining() -> None:
    """The gradient is that of weight · mean((y − t)²) ÷ mean(t²), on top of the loop's own."""
    model = _net()
    seen: list[Tensor] = []

    def retrain(slim: nn.Module, penalty: Penalties) -> None:  # noqa: ARG001
        slim.train()
        slim(BATCHES[0]).sum().backward()
        seen.append(slim[3].bias.grad.clone())
        expected = copy.deepcopy(slim)
        expected._forward_hooks.clear()
        expected.zero_grad()
        y, t = expected(BATCHES[0]), model(BATCHES[0]).detach()
        (y.sum() + weight * (y - t).square().mean() / t.square().mean()).backward()
        seen.append(expected[3].bias.grad)

    for weight in (0.0, 3.0):
        method = secateur.Method(selection=secateur.SelectionSettings("l1"), distill=weight)
        _compressed(model, retrain=retrain, method=method)
        given, wanted = seen[-2:]
        torch.testing.assert_close(given, wanted)
    assert not torch.allclose(seen[0], seen[2])


def test_rounding_that_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    times = WidthSteps({"0": 4}, {"0": {4: 1.0}})
    asked: list[Any] = []

    def measure(*args: Any, runtime: str) -> Any:
        asked.append((args[1].shape, args[3], runtime))
        return times

    monkeypatch.setattr("secateur.pruning.phase.measure_width_steps", measure)
    method = secateur.Method(
        selection=secateur.SelectionSettings(
            "l1", allocation="cost", round_to="auto", runtime="torch", min_filters=1
        )
    )
    result = _compressed(_net(), method=method)
    assert asked == [((1, 2, 6, 6), {"0": 4}, "torch")]
    assert len(result.kept["0"]) == 4
    assert result.phases[0].rounding is not None
    assert result.phases[0].rounding.used == {"0": 4}


# ---- both doors --------------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", ["sparsity", "l1", "taylor"])
def test_both_doors_choose_the_same_filters(
    criterion: str, secateur_command: Callable[..., Outcome], tmp_path: Path
) -> None:
    """The library, with the run's trained networks, metric and batches, against the run itself."""
    select = {"keep_params": 0.5, "min_filters": 1, "criterion": criterion}
    compress = {**TINY["compress"], "select": select, "retrain": {"steps": 1, "batch_size": 4}}
    path = write_recipe(tmp_path / "data", {**TINY, "compress": compress})
    run = tmp_path / "run"
    outcome = secateur_command("compress", path, "--run", run)
    assert outcome.code == 0, outcome.err

    recipe = load_recipe(path)
    splits = read_splits(recipe.data, recipe.model.input_size, recipe.seed)
    task = task_of(recipe.data, recipe.evaluate)
    dense = load_network(run / "steps/dense/network.safetensors")
    _, sparsify, selection, retrain = recipe.phase(1)
    digest = hashlib.sha256(f"{recipe.seed} select {criterion}".encode()).digest()
    batches = task.batches(
        splits.train,
        dense.architecture,
        retrain.model_copy(update={"steps": 50}),
        int.from_bytes(digest[:4], "big"),
        torch.device("cpu"),
    )
    objective = Objective(copy.deepcopy(dense.model), task.loss(dense.architecture))

    def loss(raw: nn.Module, batch: Any) -> Tensor:
        own = {f"model.{name}": tensor for name, tensor in raw.named_parameters()}
        value: Tensor = torch.func.functional_call(objective, own, tuple(batch))
        return value

    def evaluate(raw: nn.Module) -> float:
        if _shapes(raw) != _shapes(dense.model):
            return 0.0  # of the slim network nothing is asked
        model = copy.deepcopy(dense.model)
        model.load_state_dict(raw.state_dict())
        found = task.predictions(model, dense.architecture, splits.validation)
        return task.measure(found, splits.validation, ("AP50_area",))["AP50_area"]

    def train(raw: nn.Module, penalty: Penalties) -> None:
        """End where the run's own training with the penalty ended."""
        optimizer = torch.optim.SGD(raw.parameters(), 0.0)
        penalty.attach(optimizer)
        torch.stack(
            [each.sum() for each in raw(torch.rand(2, 3, 64, 64)).values()]
        ).sum().backward()
        optimizer.step()
        after = load_network(run / "steps/phase1-sparsify/network.safetensors")
        raw.load_state_dict(after.model.state_dict())

    graph = channel_groups(raw_network(dense.model), example_input(dense.architecture))
    (phase_of_run,) = recipe_phases(recipe, dense.model, graph)
    result = secateur.compress(
        raw_network(dense.model),
        torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
        selection.goal,
        train=train,
        retrain=lambda *_: None,
        evaluate=evaluate,
        calibration=secateur.Calibration(batches, loss=loss),
        method=secateur.Method(
            sparsify.settings,
            recipe.compress.threshold.settings,
            selection.settings,
            secateur.RemovalSettings(False, fold_means=False, reestimate_norms=False),
            phases=[list(phase_of_run.groups)],
        ),
    )
    record = read_record(run / "steps/phase1-remove/step.json", StepRecord).result
    assert isinstance(record, RemovalRecord)
    assert {name: kept.tolist() for name, kept in result.phases[0].kept.items()} == {
        name: selected.kept for name, selected in record.selection.items()
    }
    assert record.removed > 0
    if criterion == "sparsity":
        threshold = read_record(run / "steps/phase1-threshold/step.json", StepRecord).result
        assert isinstance(threshold, ThresholdRecord)
        assert result.phases[0].threshold is not None
        assert result.phases[0].threshold.value == threshold.threshold


def _shapes(model: nn.Module) -> list[torch.Size]:
    return [parameter.shape for parameter in model.parameters()]
