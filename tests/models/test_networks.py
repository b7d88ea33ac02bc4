"""The table of networks: one more is a few lines, and is then saved, loaded, counted and named."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from secateur.config.architecture import recipe_architecture
from secateur.config.model import model_sections
from secateur.config.recipe import load_recipe
from secateur.errors import RecipeError
from secateur.models.architecture import Architecture, NetworkBuilder, Options
from secateur.models.cost import count_params
from secateur.models.layer_costs import layer_costs
from secateur.models.network import (
    build_network,
    example_input,
    layer_names,
    layer_widths,
    output_layers,
    raw_network,
)
from secateur.models.network_file import load_network, read_structure, save_network
from secateur.models.table import NETWORKS
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import remove_filters

RECIPE = Path(__file__).parents[2] / "src/secateur/config/recipes/vgg_gtsrb_laptop.yaml"


class TinyOptions(Options):
    """A tiny classifier."""

    network: Literal["tiny"] = "tiny"
    size: int = 32
    width: int = 6


class TinyArchitecture(Architecture):
    """The arguments that build it."""

    width: int


class Tiny(nn.Module):
    """Two convolutions, and a buffer that no file holds."""

    def __init__(self, architecture: TinyArchitecture) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, architecture.width, 3)
        self.second = nn.Conv2d(architecture.width, 5, 3)
        self.last = nn.Linear(5, len(architecture.classes))
        self.register_buffer("gain", torch.tensor(2.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x).relu()).relu()
        out: Tensor = self.last(x.mean((2, 3))) * self.gain
        return out


def resolve(options: TinyOptions, classes: tuple[str, ...], resize: bool) -> TinyArchitecture:
    if options.width > 64:
        raise ValueError("width is at most 64")
    return TinyArchitecture(
        network="tiny",
        classes=classes,
        size=options.size,
        resize=resize,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        width=options.width,
    )


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = NetworkBuilder(
        task="classification",
        options=TinyOptions,
        architecture=TinyArchitecture,
        resolve=resolve,
        build=Tiny,
        modules=(Tiny,),
    )
    monkeypatch.setitem(NETWORKS, "tiny", builder)


def test_it_is_named_in_a_recipe() -> None:
    recipe = load_recipe(RECIPE, ["model={network: tiny, width: 4, size: 40}"])
    assert recipe.evaluate.metric == "top1"
    assert recipe.model.input_size == 40
    assert recipe.model.model_dump() == {
        "network": "tiny",
        "size": 40,
        "batch_norm": False,
        "weights": None,
        "width": 4,
    }
    assert recipe_architecture(recipe, ("a", "b")) == TinyArchitecture(
        network="tiny",
        classes=("a", "b"),
        size=40,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        width=4,
    )
    assert [section.__name__ for section in model_sections()] == [
        "SSDModel",
        "VGGModel",
        "TinyModel",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model={network: tiny, widht: 4}", "unknown entry model.widht; did you mean width"),
        ("model={network: tiny, width: a}", "model.width: Input should be a valid integer"),
        ("model={network: tinny}", "model: network must be ssd300, ssd512, vgg16 or tiny$"),
        ("model=7", "model: must be a mapping with the entry network"),
    ],
)
def test_wrong_entries(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(RECIPE, [change])


def test_options_that_contradict_each_other() -> None:
    recipe = load_recipe(RECIPE, ["model={network: tiny, width: 100}"])
    with pytest.raises(RecipeError, match=r"^model: width is at most 64$"):
        recipe_architecture(recipe, ("a",))


def test_it_learns_only_from_data_of_its_task() -> None:
    with pytest.raises(
        RecipeError, match="tiny cannot be trained on data of format voc; it needs fo"
    ):
        load_recipe(RECIPE, ["model={network: tiny}", "data={format: voc, root: x}"])


def test_a_slim_one_is_saved_and_loaded(tmp_path: Path) -> None:
    architecture = resolve(TinyOptions(), ("a", "b", "c"), resize=True)
    dense, x = build_network(architecture).eval(), torch.rand(1, 3, 32, 32)
    graph = channel_groups(raw_network(dense), x)
    slim = remove_filters(dense, graph, {"first": torch.tensor([0, 2, 5])})
    path = tmp_path / "slim.safetensors"
    save_network(path, slim, architecture, {"step": "x"})
    loaded = load_network(path)
    assert (loaded.architecture, loaded.provenance) == (architecture, {"step": "x"})
    assert layer_widths(loaded.model) == {"first": 3, "second": 5}
    with torch.no_grad():
        assert torch.equal(loaded.model(x), slim(x))
    assert read_structure(path).model.get_parameter("second.weight").shape == (5, 3, 3, 3)


def test_its_layers_are_named_by_module_path() -> None:
    architecture = resolve(TinyOptions(), ("a", "b", "c"), resize=True)
    model = build_network(architecture)
    assert layer_names(architecture) == ["first", "second"]
    assert output_layers(model, architecture) == {"last": "last"}
    assert example_input(architecture).shape == (1, 3, 32, 32)
    costs = layer_costs(model, architecture)
    assert {name: cost.params for name, cost in costs.items()} == {
        "first": 6 * 3 * 9 + 6,
        "second": 5 * 6 * 9 + 5,
        "last": 3 * 5 + 3,
    }
    assert {name: cost.macs for name, cost in costs.items()} == {
        "first": 6 * 3 * 9 * 30**2,
        "second": 5 * 6 * 9 * 28**2,
        "last": 3 * 5,
    }
    assert sum(cost.params for cost in costs.values()) == count_params(model)
