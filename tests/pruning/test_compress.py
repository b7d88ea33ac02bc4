"""Compression of a network of one's own: the flow, by trainings set by hand, and its refusals."""

import copy
import dataclasses
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import secateur
from secateur.errors import BudgetError, ModelError, PruningError, WrongTypeError
from secateur.models.cost import count_macs, count_params
from secateur.pruning.penalties.l1 import L1Proximal
from secateur.pruning.penalties.penalty import Penalties
from secateur.pruning.verification import verify_removal

torch.set_num_threads(1)

EXAMPLE = torch.zeros(1, 2, 6, 6)


class Net(nn.Module):
    """What a user may bring: norms, a residual sum, a depthwise step, a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.back = nn.Conv2d(8, 8, 1, bias=False)
        self.next = nn.Conv2d(8, 10, 3, stride=2)
        self.norms = nn.GroupNorm(10, 10)
        self.hidden = nn.Linear(10 * 4, 12)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = x + self.back(self.depthwise(x))
        x = self.norms(self.next(x)).relu().flatten(1)
        return self.head(self.hidden(x).relu())


def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def train(model: nn.Module, penalty: Penalties, lr: float = 0.05, steps: int = 3) -> None:
    """An ordinary loop of a few steps."""
    chance = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    penalty.attach(optimizer)
    model.train()
    for _ in range(steps):
        x = torch.randn(4, 2, 6, 6, generator=chance)
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def compress(model: nn.Module, inputs: Any = EXAMPLE, **changes: Any) -> secateur.Result:
    """Compress with settings by their names, whichever part of the method they belong to."""
    options = {"train": train, "evaluate": lambda _: 1.0, "min_filters": 2, **changes}

    def take(kind: type, **names: str) -> Any:
        fields = {field.name for field in dataclasses.fields(kind)}
        own = {names.get(name, name): name for name in options if names.get(name, name) in fields}
        return kind(**{field: options.pop(name) for field, name in own.items()})

    goal = take(secateur.Goal)
    method = secateur.Method(
        take(secateur.PenaltySettings, penalty="kind"),
        take(secateur.ThresholdSettings, threshold_drop="max_drop"),
        take(secateur.SelectionSettings),
        take(secateur.RemovalSettings),
        distill=options.pop("distill", 0.0),
        phases=options.pop("phases", None),
        ignore=options.pop("ignore", None),
    )
    return secateur.compress(model, inputs, goal, method=method, **options)


class Grouped(nn.Module):
    """A block as in ResNeXt, with a group norm in front."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 64, 1)
        self.norm = nn.GroupNorm(8, 64)
        self.reduce = nn.Conv2d(64, 128, 1)
        self.grouped = nn.Conv2d(128, 128, 3, padding=1, groups=32)
        self.head = nn.Conv2d(128, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        return self.head(self.grouped(self.reduce(x).relu()).relu()).mean((2, 3))


def test_filters_are_counted_in_grouped_layers() -> None:
    torch.manual_seed(0)
    dense = Grouped().eval()
    graph = secateur.channel_groups(dense, EXAMPLE)
    sizes = {n: (g.channels, g.units) for n, g in graph.prunable().items()}
    assert sizes == {"stem": (64, 8), "reduce": (128, 4), "grouped": (128, 4)}
    # 4 filters everywhere are 8 of the stem, a whole group of its norm, 64 of reduce, so that
    # grouped stays grouped, and 32 of grouped, one in each of its groups.
    fewest = {"stem": 8, "reduce": 64, "grouped": 32}
    params = (2 + 1 + 2) * 8 + (8 + 1) * 64 + (2 * 9 + 1) * 32 + (32 + 1) * 3
    assert graph.cost(fewest)[0] == params
    share = params / count_params(dense)
    lines: list[str] = []
    result = compress(dense, keep_params=share + 1e-9, min_filters=4, report=lines.append)
    assert result.slim.params == params == count_params(result.model)
    assert result.channels == {"stem": 64, "reduce": 128, "grouped": 128}
    assert {name: len(kept) for name, kept in result.kept.items()} == fewest
    assert "grouped: 32 of 128 filters kept" in str(result).splitlines()
    assert any("removed 216 filters" in line for line in lines)
    slim = result.model
    layers = (slim.stem, slim.reduce, slim.grouped)
    assert [layer.out_channels for layer in layers] == [8, 64, 32]
    assert slim.grouped.groups == 32
    with pytest.raises(BudgetError, match="phase 1 cannot come down to"):
        compress(dense, keep_params=share - 1e-4, min_filters=4)


def test_all_of_it(tmp_path: Path) -> None:
    dense = net()
    before = copy.deepcopy(dense.state_dict())
    lines: list[str] = []
    penalties: list[Penalties] = []

    def noted(model: nn.Module, penalty: Penalties) -> None:
        assert model is not dense
        penalties.append(penalty)
        train(model, penalty)

    result = compress(
        dense,
        train=noted,
        keep_params=0.5,
        phases=[["stem", "back"], "next", ["hidden"]],
        report=lines.append,
    )
    # The model that was given is as it was.
    assert all(torch.equal(before[key], tensor) for key, tensor in dense.state_dict().items())
    assert not dense.training
    # Each phase trains with a penalty and retrains with one that does nothing.
    assert [len(penalty.penalties) for penalty in penalties] == [1, 0] * 3
    assert all(not penalty._handles for penalty in penalties[::2])
    # What is counted is true, and within the budget.
    slim = result.model
    assert isinstance(slim, Net)
    assert (result.dense.params, result.dense.macs) == (
        count_params(dense),
        count_macs(dense, EXAMPLE),
    )
    assert (result.slim.params, result.slim.macs) == (count_params(slim), count_macs(slim, EXAMPLE))
    assert result.slim.params <= 0.5 * result.dense.params
    assert [list(phase.kept) for phase in result.phases] == [["stem"], ["next"], ["hidden"]]
    assert result.channels == {"stem": 8, "next": 10, "hidden": 12}
    assert slim.stem.out_channels == slim.depthwise.groups == len(result.kept["stem"])
    assert slim.norms.num_groups == len(result.kept["next"])
    assert result.fixed == {"head": "the network's output"}
    for phase in result.phases:
        assert phase.slim_minus_masked < 1e-10
        assert list(phase.metric) == ["sparsified", "thresholded", "removed", "retrained"]
        assert phase.threshold.trace
    # All is said aloud.
    assert lines[0].startswith(f"dense: {result.dense.params:,} parameters")
    assert lines[1] == "phase 1 of 3: stem"
    assert lines[-1] == str(result)
    assert f"stem: {slim.stem.out_channels} of 8 filters kept" in str(result)
    assert "head: all filters kept (the network's output)" in str(result)

    result.save(tmp_path / "slim.safetensors", {"by": "test"})
    with safe_open(tmp_path / "slim.safetensors", "pt") as file:
        header = file.metadata()["secateur"]
    assert '"by": "test"' in header
    assert f'"params": {result.slim.params}' in header
    loaded = secateur.shrink_to(net(), tmp_path / "slim.safetensors")
    x = torch.randn(2, 2, 6, 6)
    assert torch.equal(loaded(x), slim.eval()(x))
    with pytest.raises(ModelError, match="shrink_to"):
        secateur.load(tmp_path / "slim.safetensors")


def chain() -> nn.Sequential:
    """1×1 convolutions 2 → 4 → 4 → 2 without biases, all weights 1."""
    layers = [nn.Conv2d(2, 4, 1, bias=False), nn.Conv2d(4, 4, 1, bias=False)]
    model = nn.Sequential(*layers, nn.Conv2d(4, 2, 1, bias=False))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    return model


def setting(zeros: dict[int, list[int]]) -> Callable[[nn.Module, Penalties], None]:
    """A training that zeroes these filters of these layers, and moves nothing else."""

    def set_zeros(model: nn.Module, penalty: Penalties) -> None:
        if penalty.weights:
            with torch.no_grad():
                for layer, filters in zeros.items():
                    model.get_parameter(f"{layer}.weight")[filters] = 0
        train(model, penalty, lr=0.0, steps=1)

    return set_zeros


def zeros_of(model: nn.Module) -> int:
    return sum(int((parameter == 0).sum()) for parameter in model.parameters())


def test_published_levels_by_hand() -> None:
    torch.manual_seed(0)
    result = compress(
        chain(),
        EXAMPLE,
        train=setting({0: [1], 1: [0, 3]}),
        evaluate=lambda model: float(zeros_of(model) <= 10),  # no more than what training zeroes
        s_F=1.0,
        s_F_both=1.0,
        s_G=1.0,
        min_filters=1,
        threshold_drop=0.5,
    )
    assert {name: kept.tolist() for name, kept in result.kept.items()} == {
        "0": [0, 2, 3],
        "1": [1, 2],
    }
    (phase,) = result.phases
    assert phase.zeros == 10 / 32
    assert (phase.threshold.status, phase.threshold.value) == ("found", 1.0)
    assert (result.dense.params, result.slim.params) == (32, 2 * 3 + 3 * 2 + 2 * 2)
    assert phase.strength == pytest.approx(0.1 / 32)


def test_a_group_visited_twice_is_numbered_as_in_the_dense_network() -> None:
    gone = iter([[1], [0]])  # the second is numbered after the first was removed

    def drop(model: nn.Module, penalty: Penalties) -> None:
        setting({0: next(gone)} if penalty.weights else {})(model, penalty)

    result = compress(
        chain(),
        EXAMPLE,
        train=drop,
        evaluate=lambda model: float(zeros_of(model) <= 2),
        s_F=1.0,
        s_F_both=1.0,
        s_G=1.0,
        phases=["0", "0"],
        min_filters=1,
        threshold_drop=0.5,
    )
    assert [phase.kept["0"].tolist() for phase in result.phases] == [[0, 2, 3], [1, 2]]
    assert result.kept["0"].tolist() == [2, 3]
    assert result.kept["1"].tolist() == [0, 1, 2, 3]


def test_largest_drop_finds_the_smallest_size_that_holds() -> None:
    full = sum(p.numel() for p in chain().parameters())

    def size(model: nn.Module) -> float:
        return 10 * sum(p.numel() for p in model.parameters()) / full

    settings = {"train": setting({}), "evaluate": size, "phases": ["0"], "min_filters": 1}
    # 32 weights less 6 for each channel of layer 0: 32, 26, 20 or 14; 26 scores 8.125.
    result = compress(chain(), EXAMPLE, max_drop=2.0, **settings)  # type: ignore[arg-type]
    (phase,) = result.phases
    assert phase.attempts == ((0.5, 6.25), (0.75, 8.125), (0.625, 6.25), (0.6875, 8.125))
    assert result.slim.params == 26
    assert result.slim.metric == 8.125
    lines: list[str] = []
    none = compress(chain(), EXAMPLE, max_drop=0.1, report=lines.append, **settings)  # type: ignore[arg-type]
    assert none.slim == none.dense
    assert none.kept["0"].tolist() == [0, 1, 2, 3]
    assert list(none.phases[0].metric) == ["sparsified", "thresholded"]
    assert "  no size holds the drop: the phase leaves the network as it was" in lines


def test_kept_filters_come_in_multiples() -> None:
    seen: list[tuple[int, ...]] = []

    def noted(model: nn.Module, penalty: Penalties) -> None:
        assert isinstance(model, Net)
        widths = (model.stem.out_channels, model.next.out_channels, model.hidden.out_features)
        seen.append(widths)
        train(model, penalty)

    result = compress(net(), train=noted, keep_params=0.5, round_to=4)
    assert {name: len(kept) % 4 for name, kept in result.kept.items()} == {
        "stem": 0,
        "next": 0,
        "hidden": 0,
    }
    assert result.slim.params <= 0.5 * result.dense.params
    by_name = compress(net(), keep_params=0.5, round_to={"next": 5}, phases=["stem", "next"])
    assert len(by_name.kept["next"]) == 5
    with pytest.raises(PruningError, match="round_to: 'nexd' is no channel group"):
        compress(net(), train=never, keep_params=0.5, round_to={"nexd": 5})
    with pytest.raises(
        BudgetError, match=r"2 filters \(rounded up .* lower min_filters or round_to"
    ):
        compress(net(), train=never, keep_params=0.5, round_to=8)
    # What holds the drop is what was rounded and retrained.
    seen.clear()
    drop = compress(net(), train=noted, max_drop=1.0, round_to=4, attempts=3)
    assert all(width % 4 == 0 or width == 10 for widths in seen for width in widths)
    assert len(seen) == 4
    assert seen[-1] == tuple(len(kept) for kept in drop.kept.values())


def test_budget_is_shared_out_to_the_phases() -> None:
    seen: list[int] = []

    def noted(model: nn.Module, penalty: Penalties) -> None:
        if not penalty.weights:
            seen.append(count_params(model))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        penalty.attach(optimizer)
        model(torch.ones(1, 8, 2, 2)).sum().backward()
        optimizer.step()

    model = nn.Sequential(*(nn.Conv2d(8, 8, 1, bias=False) for _ in range(4)))
    compress(
        model,
        torch.zeros(1, 8, 2, 2),
        train=noted,
        evaluate=lambda _: 1.0,
        keep_params=0.36,
        phases=["0", "1", "2"],
        min_filters=1,
    )
    # 64 weights a layer. Layers 1 and 2 are cut in two phases, 0 and 3 in one: first
    # 64·(0.36 + 0.6 + 1 + 1), then 64·(0.36 + 0.36 + 0.6 + 1), in the end 256·0.36.
    limits = [int(64 * 2.96), int(64 * 2.32), int(256 * 0.36)]
    assert all(limit - 16 < params <= limit for params, limit in zip(seen, limits, strict=True))


def test_budgets_between_the_phases_stay_in_reach() -> None:
    """The first phase could meet its own budget and the end, and leave the second without hope."""
    widths = (3, 100, 12, 100, 2)
    model = nn.Sequential(*(nn.Conv2d(a, b, 1, bias=False) for a, b in pairwise(widths)))

    def nothing(model: nn.Module, penalty: Penalties) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        penalty.attach(optimizer)
        model(torch.ones(1, 3, 2, 2)).sum().backward()
        optimizer.step()

    result = compress(
        model,
        torch.zeros(1, 3, 2, 2),
        train=nothing,
        evaluate=lambda _: 1.0,
        keep_params=0.1,
        phases=["0", "1", "2"],
    )
    assert result.slim.params <= 0.1 * count_params(model) == 290


def test_outputs_that_are_boolean_or_empty() -> None:
    class Masked(Net):
        def forward(self, x: Tensor) -> Any:
            y = super().forward(x)
            return y, y > 0, y[:0]

    def first(model: nn.Module, penalty: Penalties) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        penalty.attach(optimizer)
        model(torch.randn(4, 2, 6, 6))[0].square().mean().backward()
        optimizer.step()

    torch.manual_seed(0)
    assert compress(Masked(), train=first, keep_params=0.5).phases[0].slim_minus_masked < 1e-10


def test_the_proof_comes_before_the_network_goes_back_to_its_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []

    class Watched(Net):
        def to(self, *args: Any, **kwargs: Any) -> "Watched":
            order.append("to")
            return super().to(*args, **kwargs)

    def verify(*args: Any) -> float:
        order.append("verified")
        return verify_removal(*args)

    monkeypatch.setattr("secateur.pruning.phase.verify_removal", verify)
    torch.manual_seed(0)
    compress(Watched(), keep_params=0.5)
    assert order[-2:] == ["verified", "to"]


def test_frozen_weights_stay_and_are_not_asked_for_a_gradient() -> None:
    dense = net()
    dense.stem.requires_grad_(requires_grad=False)
    result = compress(dense, keep_params=0.5)
    slim = result.model
    assert isinstance(slim, Net)
    assert not slim.stem.weight.requires_grad
    assert slim.next.weight.requires_grad
    assert torch.equal(slim.stem.weight, dense.stem.weight[result.kept["stem"]])


def test_retraining_by_its_own_function() -> None:
    calls: list[str] = []

    def retrain(model: nn.Module, penalty: Penalties) -> None:
        calls.append("retrain")
        penalty.before_step()
        train(model, penalty)

    def first(model: nn.Module, penalty: Penalties) -> None:
        calls.append("train")
        train(model, penalty)

    compress(net(), train=first, retrain=retrain, keep_macs=0.5)
    assert calls == ["train", "retrain"]


def test_inputs_by_name_and_several() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 8, 1), nn.Conv2d(2, 8, 1)
            self.out = nn.Conv2d(8, 1, 1)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.out((self.a(x) + self.b(y)).relu())

    def fit(model: nn.Module, penalty: Penalties) -> None:
        optimizer = torch.optim.AdamW(model.parameters())
        penalty.attach(optimizer)
        model(torch.rand(1, 2, 3, 3), torch.rand(1, 2, 3, 3)).sum().backward()
        optimizer.step()

    x = torch.rand(1, 2, 3, 3)
    for inputs in ((x, x), {"x": x, "y": x}):
        result = compress(Two(), inputs, train=fit, evaluate=lambda _: 1.0, keep_params=0.6)
        assert result.slim.params <= 0.6 * result.dense.params


def test_report_goes_to_the_log_by_default(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="secateur"):
        compress(net(), keep_params=0.5)
    assert caplog.messages[1] == "phase 1 of 1: stem, next, hidden"


def test_a_penalty_that_costs_much_is_named() -> None:
    scores = iter([1.0, 0.5])
    lines: list[str] = []
    compress(
        net(),
        evaluate=lambda _: next(scores, 0.5),
        keep_params=0.5,
        strength=0.01,
        report=lines.append,
    )
    assert "(much worse than 1: a smaller strength may serve better)" in lines[2]
    assert lines[2].startswith("  sparsified, strength 0.01: ")


def test_layers_that_are_ignored_lose_nothing() -> None:
    result = compress(net(), keep_params=0.8, ignore=["hid*", "back"])
    # stem meets back in a sum.
    assert [list(phase.kept) for phase in result.phases] == [["next"]]
    slim = result.model
    assert (slim.stem.out_channels, slim.hidden.out_features) == (8, 12)
    assert slim.next.out_channels < 10


@pytest.mark.parametrize(
    ("penalty", "cure"),
    [
        ("proximal", "(raise the strength, the learning rate or the number of steps for more)"),
        ("subgradient", "(this penalty makes weights small; the threshold makes them zero)"),
    ],
)
def test_no_zeros_come_with_their_cure(penalty: str, cure: str) -> None:
    lines: list[str] = []
    compress(net(), keep_params=0.5, penalty=penalty, strength=1e-9, report=lines.append)
    assert f"0.0% exact zeros, metric 1 {cure}" in lines[2]


# ---- refusals ----------------------------------------------------------------------------------


def never(_model: nn.Module, _penalty: Penalties) -> None:
    raise AssertionError("nothing may be trained")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "state one goal"),
        ({"keep_params": 0.5, "max_drop": 1.0}, "state one goal"),
        ({"max_drop": -1.0}, "max_drop is -1"),
        ({"max_drop": 1.0, "attempts": 0}, "attempts is 0"),
        ({"keep_macs": 0.5, "min_filters": 0}, "min_filters is 0"),
        ({"keep_macs": 0.5, "ignore": "layer9"}, "'layer9' matches no layer"),
        ({"keep_macs": 0.5, "ignore": ["stem", "next", "hidden"]}, "is ignored; ignore fewer"),
        ({"keep_macs": 0.5, "strength": math.nan}, "strength must be a finite number"),
        ({"keep_macs": 0.5, "group_strength": math.inf}, "strength must be a finite number"),
        ({"keep_macs": 0.5, "threshold_drop": -1.0}, "max_drop of the threshold is -1"),
        ({"keep_params": 0.5, "resolution": 0.0}, "resolution is 0.0"),
        ({"keep_params": 0.5, "penalty": "l2"}, "no penalty 'l2'"),
        ({"keep_params": 0.5, "phases": []}, "phases is empty"),
        ({"keep_params": 0.5, "phases": ["stem", []]}, "phase 2 names no layers"),
        ({"keep_params": 0.5, "phases": ["stem", "layer9.*"]}, r"phase 2: 'layer9\.\*' matches no"),
        ({"keep_params": 0.5, "phases": ["head"]}, "phase 1: 'head' cannot be pruned"),
    ],
)
def test_what_is_wrong_shows_before_training(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PruningError, match=message):
        compress(net(), train=never, **changes)


def test_network_of_which_nothing_can_be_proved_shows_before_training() -> None:
    class Noisy(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + torch.randn_like(x))

    with pytest.raises(PruningError, match="gives other outputs each time"):
        compress(Noisy(), train=never, keep_macs=0.5)


def test_network_that_keeps_its_features_is_compressed() -> None:
    class Keeper(Net):
        def forward(self, x: Tensor) -> Tensor:
            self.features = self.stem(x)
            return super().forward(x)

    kept = Keeper()
    kept(torch.zeros(1, 2, 6, 6))
    result = compress(kept, keep_macs=0.5)
    assert result.slim.macs <= 0.5 * result.dense.macs


def test_budget_out_of_reach_shows_before_training() -> None:
    least = 2 * 18 + 2 + 4 + 2 * 9 + 2 + 4 + 2 * 18 + 2 + 4 + 2 * 8 + 2 + 2 * 3 + 3
    assert compress(net(), keep_params=(least + 0.5) / count_params(net())).slim.params == least
    words = f"phase 1 cannot come down to {least - 1} parameters: {least} are left .* with 2 "
    with pytest.raises(BudgetError, match=words):
        compress(net(), train=never, keep_params=(least - 0.5) / count_params(net()))
    with pytest.raises(BudgetError, match="MACs"):
        compress(net(), train=never, keep_macs=0.01)


def test_network_that_cannot_be_pruned() -> None:
    with pytest.raises(PruningError, match="no channel of this network can be pruned: 0"):
        compress(nn.Sequential(nn.Conv2d(2, 3, 1)), train=never, keep_params=0.5)
    frozen = net().requires_grad_(requires_grad=False)
    with pytest.raises(PruningError, match="is frozen"):
        compress(frozen, train=never, keep_params=0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "good", torch.ones(2)])
def test_evaluation_that_gives_no_number(value: Any) -> None:
    with pytest.raises(PruningError, match=r"evaluate\(\) returned .*higher is better"):
        compress(net(), train=never, evaluate=lambda _: value, keep_params=0.5)


def test_training_that_does_not_use_the_penalty() -> None:
    def plain(model: nn.Module, _penalty: Penalties) -> None:
        train(model, Penalties())

    def without_steps(model: nn.Module, penalty: Penalties) -> None:
        penalty.attach(torch.optim.SGD(model.parameters(), lr=0.1))

    def of_another(_model: nn.Module, penalty: Penalties) -> None:
        penalty.attach(torch.optim.SGD(net().parameters(), lr=0.1))

    def of_the_head(model: nn.Module, penalty: Penalties) -> None:
        assert isinstance(model, Net)
        optimizer = torch.optim.SGD([*model.head.parameters(), *model.next.parameters()], lr=0.1)
        penalty.attach(optimizer)
        model(torch.randn(4, 2, 6, 6)).sum().backward()
        optimizer.step()

    for function, message in (
        (plain, r"train\(\) never called penalty.attach\(optimizer\)"),
        (without_steps, "an optimizer that took no step"),
        (of_another, "holds none of the penalised weights"),
        (of_the_head, r"(stem|back).weight is penalised but had no gradient, or no optimizer"),
    ):
        with pytest.raises(PruningError, match=message):
            compress(net(), train=function, keep_params=0.5)


def test_penalty_is_detached_after_an_error() -> None:
    kept: list[torch.optim.Optimizer] = []

    def fail(model: nn.Module, penalty: Penalties) -> None:
        kept.append(torch.optim.SGD(model.parameters(), lr=0.1))
        penalty.attach(kept[0])
        raise KeyError

    with pytest.raises(KeyError):
        compress(net(), train=fail, keep_params=0.5)
    assert not kept[0]._optimizer_step_pre_hooks
    assert not kept[0]._optimizer_step_post_hooks


# ---- files -------------------------------------------------------------------------------------


class Tied(nn.Module):
    """Two names for one tensor, a transposed weight, and a buffer."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.a = nn.Linear(width, width, bias=False)
        self.b = nn.Linear(width, width, bias=False)
        self.b.weight = self.a.weight
        self.turned = nn.Parameter(torch.arange(12.0).view(3, 4).t())
        self.register_buffer("count", torch.tensor(7))


def test_tied_and_transposed_tensors_go_to_file_and_back(tmp_path: Path) -> None:
    model = Tied()
    secateur.save(tmp_path / "tied.safetensors", model)
    loaded = secateur.shrink_to(Tied(), str(tmp_path / "tied.safetensors"))
    assert isinstance(loaded, Tied)
    assert loaded.a.weight is loaded.b.weight
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[key]), key


def test_tied_tensors_shrink_together(tmp_path: Path) -> None:
    secateur.save(tmp_path / "small.safetensors", Tied(2))
    loaded = secateur.shrink_to(Tied(), tmp_path / "small.safetensors")
    assert isinstance(loaded, Tied)
    assert loaded.a.weight is loaded.b.weight
    assert loaded.b.out_features == loaded.a.in_features == 2


def test_the_model_says_precision_mode_and_what_is_frozen(tmp_path: Path) -> None:
    secateur.save(tmp_path / "small.safetensors", nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 2)))
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)).double().eval()
    model[0].requires_grad_(requires_grad=False)
    loaded = secateur.shrink_to(model, tmp_path / "small.safetensors")
    assert model[0].out_features == 3, "the model given is left as it was"
    assert [p.dtype for p in loaded.parameters()] == [torch.float64] * 4
    assert [p.requires_grad for p in loaded.parameters()] == [False, False, True, True]
    assert not loaded.training


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 1))
    good = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    less = {name: tensor for name, tensor in good.items() if name != "1.bias"}
    cases = [
        (less, r"lacks 1.bias"),
        ({**good, "2.weight": torch.zeros(1)}, r"has 2.weight, which the model lacks"),
        ({**good, "0.weight": torch.zeros(4, 2)}, r"0.weight has 2 dimensions, the model's 4"),
        ({**good, "0.weight": torch.zeros(5, 2, 1, 1)}, r"0.weight is \[5, 2, 1, 1\], and cannot"),
        ({**good, "0.bias": torch.zeros(0)}, r"0.bias is \[0\], and cannot"),
    ]
    path = tmp_path / "bad.safetensors"
    for tensors, message in cases:
        save_file(tensors, path)
        with pytest.raises(ModelError, match=message):
            secateur.shrink_to(model, path)
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="not a safetensors file"):
        secateur.shrink_to(model, path)
    with pytest.raises(ModelError, match="no such network file"):
        secateur.shrink_to(model, tmp_path / "none.safetensors")


def test_state_that_is_no_tensor(tmp_path: Path) -> None:
    class Odd(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"a": 1}

    with pytest.raises(ModelError, match="_extra_state is dict"):
        secateur.save(tmp_path / "odd.safetensors", Odd(1, 1))


def test_public_protocol_of_penalties() -> None:
    w = nn.Parameter(torch.ones(1))
    penalty = secateur.Penalties([L1Proximal([w], 1.0)])
    optimizer = torch.optim.SGD([w], lr=0.5)
    w.grad = torch.zeros(1)
    penalty.before_step()
    optimizer.step()
    penalty.after_step(optimizer)
    assert w.item() == 0.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": net().state_dict()}, "model is an OrderedDict; give a torch.nn.Module"),
        ({"train": 3}, "train is 3; give a function"),
        ({"evaluate": 3}, "evaluate is 3; give a function"),
        ({"max_drop": "1"}, "Goal: max_drop is '1'; give a number or None"),
        ({"attempts": 1.5}, "Goal: attempts is 1.5; give a whole number"),
        ({"min_filters": 2.5}, "SelectionSettings: min_filters is 2.5; give a whole number"),
        (
            {"phases": "stem"},
            "Method: phases is 'stem'; give a list of strings or lists of strings",
        ),
    ],
)
def test_arguments_that_are_something_else(change: dict[str, Any], words: str) -> None:
    model = change.pop("model", None) or net()
    with pytest.raises(WrongTypeError, match=words):
        compress(model, **{"train": never, "keep_params": 0.5, **change})


def test_a_model_without_weights() -> None:
    with pytest.raises(PruningError, match="the model is on meta"):
        compress(net().to("meta"), train=never, keep_params=0.5)


def test_training_that_diverged() -> None:
    def diverge(model: nn.Module, penalty: Penalties) -> None:
        train(model, penalty)
        with torch.no_grad():
            next(model.parameters()).fill_(math.nan)

    with pytest.raises(PruningError, match=r"is not finite after train.*learning rate"):
        compress(net(), train=diverge, keep_params=0.5)


def test_example_inputs_that_are_not_finite() -> None:
    with pytest.raises(PruningError, match="no finite values"):
        compress(net(), EXAMPLE * math.nan, train=never, evaluate=lambda _: 1.0, keep_params=0.5)


def test_without_training_filters_go_and_the_rest_is_reconstructed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
    ).eval()
    with torch.no_grad():  # half of the filters of both layers are copies of the others
        for layer in (model[0], model[2]):
            layer.weight[4:] = layer.weight[:4]
        model[0].bias[4:] = model[0].bias[:4]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pictures = [torch.randn(4, 3, 8, 8) for _ in range(20)]
    x = torch.randn(4, 3, 8, 8)
    wanted = model(x)

    def evaluate(network: nn.Module) -> float:
        return -float((network(x) - wanted).abs().max())

    result = secateur.compress(
        model,
        x,
        secateur.Goal(keep_params=0.35),
        train=None,
        evaluate=evaluate,
        calibration=secateur.Calibration(
            [(each, "label") for each in pictures], inputs=lambda batch: batch[0]
        ),
    )
    assert [len(kept) for kept in result.kept.values()] == [4, 4]
    assert result.slim.metric > -1e-2
    assert set(result.phases[0].metric) == {"removed"}
    found = result.phases[0].reconstruction
    assert found is not None
    assert set(found.errors) == {"2", "5"}
    assert not any(module.training for module in result.model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_batches_that_do_not_fit_the_network_show_before_training() -> None:
    trained: list[str] = []
    with pytest.raises(PruningError, match=r"calibration.*does not take.*inputs="):
        secateur.compress(
            net(),
            torch.randn(2, 3, 8, 8),
            secateur.Goal(keep_macs=0.5),
            train=lambda *_: trained.append("train"),
            evaluate=lambda _: 1.0,
            calibration=secateur.Calibration([(torch.randn(2, 3, 8, 8), torch.zeros(2))]),
        )
    assert not trained
