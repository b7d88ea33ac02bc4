"""A slim network's file loads into a fresh network, however the slim one was wrapped or saved."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import secateur
from secateur.errors import ModelError
from secateur.models.weights import read_state
from secateur.models.wrappers import plain_names

torch.set_num_threads(1)
KEPT = {"0": torch.tensor([0, 2, 5]), "3": torch.tensor([1, 2, 3, 4])}


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.InstanceNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 1), nn.Conv2d(8, 2, 1)
    )


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def slim(x: Tensor) -> nn.Module:
    torch.manual_seed(0)
    dense = network()
    return secateur.remove_filters(dense, secateur.channel_groups(dense, x), KEPT)


def compiled_part(model: nn.Module) -> nn.Module:
    model.set_submodule("3", torch.compile(model.get_submodule("3"), backend="eager"))  # type: ignore[arg-type]
    return model


class InLightning(nn.Module):
    """Holds a network as Lightning modules do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DataParallel": nn.DataParallel,
    "compiled": lambda model: torch.compile(model, backend="eager"),  # type: ignore[return-value]
    "compiled and parallel": lambda model: nn.DataParallel(
        torch.compile(model, backend="eager")  # type: ignore[arg-type]
    ),
    "compiled part": compiled_part,
    "Lightning": InLightning,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_state_dict_of_a_wrapped_network_loads(
    wrapper: str, slim: nn.Module, x: Tensor, tmp_path: Path
) -> None:
    wanted = slim(x)
    state = WRAPPERS[wrapper](slim).state_dict()
    assert state.keys() != network().state_dict().keys()
    save_file({n: t.clone() for n, t in state.items()}, tmp_path / "slim.safetensors")
    assert read_state(str(tmp_path / "slim.safetensors")).keys() == network().state_dict().keys()
    # The norm has no tensors, and a file that secateur did not write does not tell its channels.
    given = secateur.shrink_to(network(), tmp_path / "slim.safetensors")
    given.get_submodule("1").num_features = 3  # type: ignore[assignment]
    torch.testing.assert_close(given(x), wanted, rtol=0, atol=0)


@torch.no_grad()
def test_file_of_a_network_with_a_compiled_part_has_plain_names(
    slim: nn.Module, x: Tensor, tmp_path: Path
) -> None:
    wanted = slim(x)
    secateur.save(tmp_path / "slim.safetensors", compiled_part(slim))
    assert load_file(tmp_path / "slim.safetensors").keys() == network().state_dict().keys()
    for fresh in (network(), compiled_part(network())):
        given = secateur.shrink_to(fresh, tmp_path / "slim.safetensors")
        torch.testing.assert_close(given(x), wanted, rtol=0, atol=0)


NORMS: dict[str, Callable[[], nn.Module]] = {
    "instance": lambda: nn.InstanceNorm2d(6),
    "affine instance": lambda: nn.InstanceNorm2d(6, affine=True),
    "tracking instance": lambda: nn.InstanceNorm2d(6, track_running_stats=True),
    "batch": lambda: nn.BatchNorm2d(6),
    "free batch": lambda: nn.BatchNorm2d(6, affine=False),
    "batch without tensors": lambda: nn.BatchNorm2d(6, affine=False, track_running_stats=False),
    "synchronised batch": lambda: nn.SyncBatchNorm(6),
    "group": lambda: nn.GroupNorm(3, 6),
    "one free group": lambda: nn.GroupNorm(1, 6, affine=False),
}


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_knows_its_channels_again(norm: str, x: Tensor, tmp_path: Path) -> None:
    def build() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 6, 1), NORMS[norm](), nn.Conv2d(6, 2, 1)).eval()

    dense = build()
    graph = secateur.channel_groups(dense, x)
    group = graph.prunable()["0"]
    kept = {"0": group.channels_of(torch.arange(group.units - 1))}
    slim = secateur.remove_filters(dense, graph, kept)
    secateur.save(tmp_path / "slim.safetensors", slim)
    given = secateur.shrink_to(build(), tmp_path / "slim.safetensors")
    torch.testing.assert_close(given(x), slim(x), rtol=0, atol=0)
    ours, theirs = (
        {n: v for n, v in vars(m[1]).items() if isinstance(v, int)}  # type: ignore[index]
        for m in (slim, given)
    )
    assert ours == theirs


def test_names_of_a_network_with_such_names_of_its_own() -> None:
    assert plain_names(["module.a", "b"]) == {"module.a": "module.a", "b": "b"}
    assert plain_names(["model.module.a", "model.module.b"]) == {
        "model.module.a": "a",
        "model.module.b": "b",
    }
    assert plain_names([]) == {}


def test_network_inside_a_module_of_its_own_loads(
    slim: nn.Module, x: Tensor, tmp_path: Path
) -> None:
    secateur.save(tmp_path / "slim.safetensors", InLightning(slim))
    given = secateur.shrink_to(InLightning(network()), tmp_path / "slim.safetensors")
    torch.testing.assert_close(given.model(x), slim(x), rtol=0, atol=0)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["slim", "slim.pt", "slim.onnx"])
def test_a_network_file_ends_in_safetensors(name: str, slim: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"{name}: a network file ends in .safetensors; rename"):
        secateur.save(tmp_path / name, slim)
    assert not list(tmp_path.iterdir())
