"""The training loop, on a network of a few weights."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from secateur.distributed.processes import open_fabric
from secateur.errors import DivergedError
from secateur.pruning.penalties.l1 import L1Proximal
from secateur.pruning.penalties.penalty import Penalties
from secateur.training.checkpoint import TrainingState
from secateur.training.loop import Schedule, learning_rate_share, make_optimizer, train

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    from lightning.fabric import Fabric

torch.set_num_threads(1)
SGD = Schedule(optimizer="sgd", lr=0.05, weight_decay=5e-4, warmup=0.1, decay="cosine")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.mse_loss(model(x), y)


def batches(steps: int = 40) -> DataLoader[tuple[Tensor, ...]]:
    x = torch.randn(8 * steps, 3, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8)


def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_loss_falls(optimizer: str) -> None:
    model, told = network(), []
    schedule = Schedule(optimizer, 0.05, 0.0, 0.1, "cosine", clip=1.0)
    trace = train(
        fabric(), model, loss, batches(), schedule, on_step=lambda *step: told.append(step)
    )
    assert len(trace) == 40
    assert told == list(enumerate(trace, start=1))
    assert not model.training
    with torch.no_grad():
        after, before = (loss(m.eval(), *batches(1).dataset.tensors) for m in (model, network()))
    assert after < 0.3 * before


def test_same_seed_gives_the_same_bits() -> None:
    states = []
    for _ in range(2):
        model = network()
        train(fabric(), model, loss, batches(), SGD)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


class StoppedError(Exception):
    """A process ends."""


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("at", [1, 7, 12])
def test_a_stopped_training_ends_like_one_that_was_not(
    optimizer: str, at: int, tmp_path: Path
) -> None:
    schedule = Schedule(optimizer, 0.05, 0.01, 0.1, "cosine", clip=1.0)

    def run(state: TrainingState | None, *, stop: int | None) -> tuple[nn.Module, list[float]]:
        model = nn.Sequential(*network(), nn.Dropout(0.5), nn.Linear(1, 1))
        torch.manual_seed(3)
        told: list[int] = []

        def on_step(step: int, _: float) -> None:
            told.append(step)
            if step == stop:
                raise StoppedError

        done = state.steps_done() if state else 0
        rest = list(batches(12))[done:]
        trace = train(
            fabric(),
            model,
            loss,
            rest,
            schedule,
            penalty=Penalties([L1Proximal([model[0].weight], 0.01)]),
            on_step=on_step,
            state=state,
        )
        assert told == list(range(done + 1, 13))
        return model, trace

    whole, trace = run(None, stop=None)
    path = tmp_path / "training.safetensors"
    with pytest.raises(StoppedError):
        run(TrainingState(path, interval=0.0), stop=at)
    # What a step has told of is written behind it.
    assert TrainingState(path).steps_done() == at - 1
    again, found = run(TrainingState(path, interval=0.0), stop=None)
    assert found == trace
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_bfloat16_leaves_what_a_batch_holds() -> None:
    """Boxes are in pixels, and 301 would become 300."""
    net, seen = network(), []
    width = next(net.parameters()).shape[1]

    def noted(model: nn.Module, x: Tensor) -> Tensor:
        said = model(x / 301)
        seen.append((x.dtype, float(x.max()), said.dtype))
        return said.float().square().mean()

    rows = DataLoader(TensorDataset(torch.full((4, width), 301.0)), batch_size=4)
    schedule = Schedule("sgd", 1e-3, 0.0, 0.0, "constant")
    train(open_fabric(bf16=True), net, noted, rows, schedule)
    assert seen == [(torch.float32, 301.0, torch.bfloat16)]


def test_a_state_is_written_when_it_is_due_and_not_before(tmp_path: Path) -> None:
    state = TrainingState(tmp_path / "training.safetensors", interval=5.0)
    train(fabric(), network(), loss, batches(5), SGD, state=state)
    assert state.steps_done() == 0
    state.interval = 0.0
    train(fabric(), network(), loss, batches(5), SGD, state=state)
    assert state.steps_done() == 5


def test_a_broken_state_is_none(tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    path.write_bytes(b"half a file")
    assert TrainingState(path).steps_done() == 0


def test_frozen_parameters_stay() -> None:
    model = network()
    model[0].requires_grad_(requires_grad=False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(fabric(), model, loss, batches(5), SGD)
    same = [
        name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])
    ]
    assert same == ["0.weight", "0.bias"]


def test_penalty_makes_zeros() -> None:
    model = network()
    weight = model[0].weight
    train(fabric(), model, loss, batches(), SGD, penalty=Penalties([L1Proximal([weight], 5.0)]))
    assert int((weight == 0).sum()) > 0


def test_loss_that_is_no_number() -> None:
    words = r"the training diverged at step 1 of 3 \(loss nan\); lower the learning rate"
    for clip in (None, 1.0):
        schedule = replace(SGD, clip=clip)
        with pytest.raises(DivergedError, match=words):
            train(
                fabric(), network(), lambda m, x, y: loss(m, x, y) * torch.nan, batches(3), schedule
            )


def test_gradients_that_are_no_numbers() -> None:
    def steep(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        # The root of zero, whose slope is infinite.
        return loss(model, x, y) + (model[3].bias * 0).abs().sqrt().sum()

    schedule = replace(SGD, clip=1.0)
    with pytest.raises(DivergedError, match=r"diverged at step 1 of 3 \(loss \d"):
        train(fabric(), network(), steep, batches(3), schedule)


def test_norms_and_biases_are_not_decayed() -> None:
    model = network()
    decayed, free = make_optimizer(model, SGD).param_groups
    assert [id(p) for p in decayed["params"]] == [id(model[0].weight), id(model[3].weight)]
    assert (decayed["weight_decay"], free["weight_decay"], len(free["params"])) == (5e-4, 0.0, 4)


@pytest.mark.parametrize(
    ("decay", "warmup", "shares"),
    [
        ("constant", 0.0, {1: 1.0, 100: 1.0}),
        ("constant", 0.1, {1: 0.1, 5: 0.5, 10: 1.0, 11: 1.0, 100: 1.0}),
        ("cosine", 0.0, {50: 0.5, 100: 0.0, 25: 0.8535534}),
        ("cosine", 0.2, {10: 0.5, 20: 1.0, 60: 0.5, 100: 0.0}),
        ("step", 0.0, {1: 1.0, 66: 1.0, 67: 0.1, 83: 0.1, 84: 0.01, 100: 0.01}),
        ("step", 0.1, {5: 0.5, 10: 1.0, 66: 1.0, 67: 0.1}),
    ],
)
def test_learning_rate_share(decay: str, warmup: float, shares: dict[int, float]) -> None:
    schedule = Schedule("sgd", 1.0, 0.0, warmup, decay)
    for step, share in shares.items():
        assert learning_rate_share(schedule, step, 100) == pytest.approx(share, abs=1e-7)
