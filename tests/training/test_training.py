"""The training loop on a small network."""

import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from secateur.distributed.processes import open_fabric
from secateur.errors import DivergedError
from secateur.files.signals import signals_raised
from secateur.pruning.penalties.l1 import L1Proximal
from secateur.pruning.penalties.penalty import Penalties
from secateur.training.checkpoint import TrainingState
from secateur.training.loop import train
from secateur.training.schedule import Schedule

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # from lightning's imports
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
    model, steps = network(), []
    schedule = Schedule(optimizer, 0.05, 0.0, 0.1, "cosine", clip=1.0)
    trace = train(
        fabric(), model, loss, batches(), schedule, on_step=lambda *step: steps.append(step)
    )
    assert len(trace) == 40
    assert steps == list(enumerate(trace, start=1))
    assert not model.training
    with torch.no_grad():
        after, before = (loss(m.eval(), *batches(1).dataset.tensors) for m in (model, network()))
    assert after < 0.3 * before


@pytest.mark.parametrize("clip", [None, 0.01])
def test_one_process_trains_as_a_plain_loop_does(clip: float | None) -> None:
    def dropout_network() -> nn.Sequential:
        return nn.Sequential(*network(), nn.Dropout(0.5), nn.Linear(1, 1))

    schedule = replace(SGD, decay="constant", warmup=0.0, weight_decay=0.01, clip=clip)
    ours, plain = dropout_network(), dropout_network()
    plain.load_state_dict(ours.state_dict())
    torch.manual_seed(3)
    trace = train(fabric(), ours, loss, batches(12), schedule)

    torch.manual_seed(3)
    weights = [p for p in plain.parameters() if p.dim() > 1]
    others = [p for p in plain.parameters() if p.dim() == 1]
    groups = [{"params": weights, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    expected = []
    for batch in batches(12):
        optimizer.zero_grad()
        value = loss(plain, *batch)
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(plain.parameters(), clip)
        optimizer.step()
        expected.append(value.item())
    assert trace == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())


def test_ranks_draw_different_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = []
    for rank in (0, 1, 2, 1):
        monkeypatch.setattr(Fabric, "global_rank", rank)
        model = nn.Sequential(*network(), nn.Dropout(0.5))
        torch.manual_seed(3)
        traces.append(train(fabric(), model, loss, batches(3), SGD))
    assert traces[1] == traces[3]
    assert len({*map(tuple, traces)}) == 3


class StoppedError(Exception):
    """Interrupts a training."""


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("at", [1, 7, 12])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_resumed_training_gives_the_network_of_an_uninterrupted_one(
    optimizer: str, at: int, rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fabric, "global_rank", rank)
    schedule = Schedule(optimizer, 0.05, 0.01, 0.1, "cosine", clip=1.0)

    def run(state: TrainingState | None, *, stop: int | None) -> tuple[nn.Module, list[float]]:
        model = nn.Sequential(*network(), nn.Dropout(0.5), nn.Linear(1, 1))
        torch.manual_seed(3)
        steps: list[int] = []

        def on_step(step: int, _: float) -> None:
            steps.append(step)
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
        assert steps == list(range(done + 1, 13))
        return model, trace

    whole, trace = run(None, stop=None)
    path = tmp_path / "training.safetensors"
    with pytest.raises(StoppedError):
        run(TrainingState(path, interval=0.0), stop=at)
    # The checkpoint of a step is written after its callback.
    assert TrainingState(path).steps_done() == at - 1
    again, found = run(TrainingState(path, interval=0.0), stop=None)
    assert found == trace
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.fixture
def handlers() -> Iterator[None]:
    """The handlers of a program in the foreground; those before are put back."""
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in usual.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["step", "batch"])
def test_a_stopped_training_resumes_at_the_step_at_which_it_was_stopped(
    number: signal.Signals, place: str, tmp_path: Path
) -> None:
    path = tmp_path / "training.safetensors"

    def run(*, at: int | None) -> tuple[nn.Module, list[float]]:
        model = nn.Sequential(*network(), nn.Dropout(0.5), nn.Linear(1, 1))
        torch.manual_seed(3)
        state = TrainingState(path)
        done = state.steps_done()

        def stopping_loss(net: nn.Module, *batch: Tensor) -> Tensor:
            if at is not None and place == "step" and len(seen) == at:
                signal.raise_signal(number)
                signal.raise_signal(number)  # `timeout` sends two
            return loss(net, *batch)

        def stopping_batches() -> Iterator[Any]:
            for batch in given:
                if at is not None and place == "batch" and len(seen) == at:
                    signal.raise_signal(number)
                seen.append(batch)
                yield batch

        seen: list[Any] = []
        given = list(batches(12))[done:]  # draws from the global random numbers
        rest = Sized(stopping_batches, 12 - done)
        return model, train(fabric(), model, stopping_loss, rest, SGD, state=state)

    whole, trace = run(at=None)
    with signals_raised(), pytest.raises((KeyboardInterrupt, SystemExit)):
        run(at=5)
    assert TrainingState(path).steps_done() == 5
    again, found = run(at=None)
    assert found == trace
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("handlers")
def test_a_second_signal_does_not_wait_for_the_end_of_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.files.signals._PATIENCE", -1.0)
    reached: list[int] = []

    def stopping_loss(net: nn.Module, *batch: Tensor) -> Tensor:
        for each in (1, 2):
            signal.raise_signal(signal.SIGINT)
            reached.append(each)
        return loss(net, *batch)

    state = TrainingState(tmp_path / "training.safetensors")
    with pytest.raises(KeyboardInterrupt):
        train(fabric(), network(), stopping_loss, batches(2), SGD, state=state)
    assert reached == [1]
    assert state.steps_done() == 0


@dataclass
class Sized:
    """An iterator with a length, as ``train`` needs."""

    make: Callable[[], Iterator[Any]]
    length: int

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        return self.make()


def test_bfloat16_does_not_round_batches() -> None:
    """A box side of 301 pixels would be rounded to 300."""
    net, seen = network(), []
    width = next(net.parameters()).shape[1]

    def recording_loss(model: nn.Module, x: Tensor) -> Tensor:
        output = model(x / 301)
        seen.append((x.dtype, float(x.max()), output.dtype))
        return output.float().square().mean()

    rows = DataLoader(TensorDataset(torch.full((4, width), 301.0)), batch_size=4)
    schedule = Schedule("sgd", 1e-3, 0.0, 0.0, "constant")
    train(open_fabric(bf16=True), net, recording_loss, rows, schedule)
    assert seen == [(torch.float32, 301.0, torch.bfloat16)]


def test_a_checkpoint_is_written_when_it_is_due(tmp_path: Path) -> None:
    state = TrainingState(tmp_path / "training.safetensors", interval=5.0)
    train(fabric(), network(), loss, batches(5), SGD, state=state)
    assert state.steps_done() == 0
    state.interval = 0.0
    train(fabric(), network(), loss, batches(5), SGD, state=state)
    assert state.steps_done() == 5


def test_a_broken_file_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    path.write_bytes(b"half a file")
    assert TrainingState(path).steps_done() == 0


def test_frozen_parameters_are_not_changed() -> None:
    model = network()
    model[0].requires_grad_(requires_grad=False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(fabric(), model, loss, batches(5), SGD)
    same = [
        name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])
    ]
    assert same == ["0.weight", "0.bias"]


def test_penalty_shrinks_weights_by_the_learning_rate_of_every_step() -> None:
    model = network()
    before = model[0].weight.detach().clone()
    strength = 0.02

    def flat(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return 0 * loss(net, x, y)

    schedule = replace(SGD, weight_decay=0.0)
    penalty = Penalties([L1Proximal([model[0].weight], strength)])
    train(fabric(), model, flat, batches(40), schedule, penalty=penalty)
    total = strength * sum(schedule.learning_rate(step, 40) for step in range(1, 41))
    expected = before.sign() * (before.abs() - total).clamp(min=0)
    torch.testing.assert_close(model[0].weight, expected)
    assert 0 < int((expected == 0).sum()) < expected.numel()
    assert torch.equal(model[0].weight == 0, expected == 0)


def test_a_loss_that_is_not_finite() -> None:
    message = r"the training diverged at step 1 of 3 \(loss nan\); lower the learning rate"
    for clip in (None, 1.0):
        schedule = replace(SGD, clip=clip)
        with pytest.raises(DivergedError, match=message):
            train(
                fabric(), network(), lambda m, x, y: loss(m, x, y) * torch.nan, batches(3), schedule
            )


def test_gradients_that_are_not_finite() -> None:
    def steep(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        # The gradient of the square root of 0 is infinite.
        return loss(model, x, y) + (model[3].bias * 0).abs().sqrt().sum()

    schedule = replace(SGD, clip=1.0)
    with pytest.raises(DivergedError, match=r"diverged at step 1 of 3 \(loss \d"):
        train(fabric(), network(), steep, batches(3), schedule)


@pytest.mark.parametrize("name", ["1.running_var", "1.running_mean", "0.weight"])
def test_a_network_that_is_not_finite_although_its_loss_is(name: str) -> None:
    def hidden(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        value = loss(model, x, y)
        with torch.no_grad():
            model.state_dict()[name].view(-1)[0] = torch.inf
        return value.detach() * model[3].weight.sum()

    message = rf"the training diverged by step 1 \({name} is not finite\); lower the learning rate"
    with pytest.raises(DivergedError, match=message):
        train(fabric(), network(), hidden, batches(1), SGD)


def test_a_network_whose_activations_overflow_is_not_written() -> None:
    """The norm's variance is infinite, and the loss, with it as the batch's, is still finite."""

    class Huge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)
            self.last = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.last(self.norm(x * 1e30).nan_to_num())
            return found

    with pytest.raises(DivergedError, match=r"norm\.running_var is not finite"):
        train(fabric(), Huge(), loss, batches(2), SGD)
