"""The phases of a recipe regrouped."""

from pathlib import Path

import pytest

from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import Recipe, load_recipe
from secateur.errors import RecipeError
from secateur.experiments.phasing import (
    covered_layers,
    each_twice,
    four_phases,
    one_phase,
    split_layers,
    with_phases,
)
from secateur.models.network import build_network
from secateur.run.phases import network_groups, recipe_phases

FOLDER = Path(__file__).parents[2] / "src/secateur/config/recipes"
TWO = "compress.phases=[{layers: conv1_1-conv3_2}, {layers: conv3_2-conv7}]"


def recipe(name: str, *changes: str) -> Recipe:
    return load_recipe(FOLDER / f"{name}.yaml", changes)


def test_phases_of_the_quick_start() -> None:
    # 19 layers: 18 steps from one to the next, split into four phases.
    assert one_phase(recipe("quickstart")) == ["conv1_1-conv9_2"]
    assert four_phases(recipe("quickstart")) == [
        "conv1_1-conv3_1",
        "conv3_1-conv4_3",
        "conv4_3-conv7",
        "conv7-conv9_2",
    ]
    assert each_twice(recipe("quickstart")) == ["conv1_1-conv9_2"] * 2


def test_every_phase_gets_at_least_one_step() -> None:
    few = recipe("quickstart", "compress.sparsify.steps=2")
    four = with_phases(few, four_phases(few))
    assert [four.phase(number)[1].steps for number in range(1, 5)] == [1] * 4


def test_regrouping_several_phases() -> None:
    two = recipe("quickstart", TWO)
    assert one_phase(two) == ["conv1_1-conv7"]
    assert each_twice(two) == ["conv1_1-conv3_2", "conv3_2-conv7"] * 2
    few = recipe("quickstart", "compress.phases=[{layers: conv1_1-conv2_1}]")
    assert four_phases(few) == ["conv1_1-conv1_2", "conv1_2-conv2_1"]


def test_neighbouring_phases_share_a_layer() -> None:
    layers = list("abcdefghi")
    assert split_layers(layers, 1) == ["a-i"]
    assert split_layers(layers, 2) == ["a-e", "e-i"]
    assert split_layers(layers, 3) == ["a-d", "d-f", "f-i"]
    assert split_layers(layers, 4) == ["a-c", "c-e", "e-g", "g-i"]
    assert split_layers(layers, 8) == ["a-b", "b-c", "c-d", "d-e", "e-f", "f-g", "g-h", "h-i"]


def test_steps_are_distributed() -> None:
    own = "compress.phases=[{layers: conv1_1-conv4_3, retrain: {steps: 60, batch_size: 16}}, "
    changed = recipe("quickstart", own + "{layers: conv4_3-conv9_2, sparsify: {steps: 50}}]")
    four = with_phases(changed, four_phases(changed))
    # (250 + 50) · 8 pictures, and 60 · 16 + 850 · 8, 970 steps of 8.
    assert [four.phase(number)[1].steps for number in range(1, 5)] == [75] * 4
    assert [four.phase(number)[3].steps for number in range(1, 5)] == [243, 243, 242, 242]
    assert {four.phase(number)[3].batch_size for number in range(1, 5)} == {8}
    three = with_phases(changed, ["conv1_1-conv2_1", "conv2_1-conv4_3", "conv4_3-conv9_2"])
    assert [three.phase(number)[3].steps for number in range(1, 4)] == [324, 323, 323]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_every_recipe_can_be_regrouped(name: str) -> None:
    own = recipe(name, "compress.select={keep_macs: 0.5, min_filters: 1}")
    architecture = recipe_architecture(own, ("a", "b"))
    model = build_network(architecture)
    graph = network_groups(model, architecture)
    cut = {group for phase in recipe_phases(own, model, graph) for group in phase.groups}
    for regroup, count in ((one_phase, 1), (four_phases, 4), (each_twice, None)):
        phases = recipe_phases(with_phases(own, regroup(own)), model, graph)
        assert len(phases) == (count or 2 * len(own.compress.phases))
        assert {group for phase in phases for group in phase.groups} == cut, "the same filters"
        assert all(phase.groups for phase in phases)


def test_phases_by_patterns_are_not_regrouped() -> None:
    patterns = recipe("quickstart", "compress.phases=[{layers: backbone.features.*}]")
    assert covered_layers(patterns) == []
    with pytest.raises(RecipeError, match="name the first and the last layer of each phase"):
        one_phase(patterns)
    mixed = "compress.phases=[{layers: conv1_1-conv4_3}, {layers: backbone.extra.*}]"
    assert covered_layers(recipe("quickstart", mixed)) == []
