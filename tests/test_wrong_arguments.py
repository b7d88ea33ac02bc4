"""Every public function, called with arguments that it does not take: one line that says so."""

import copy
import inspect
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import secateur
from secateur.config.evaluate import Evaluate
from secateur.errors import ModelError, PruningError, SecateurError, WrongTypeError
from secateur.models.vgg import build_vgg, vgg_architecture

torch.set_num_threads(1)

# What functions give; nobody needs to make one.
RESULTS = {
    *("ChannelGraph", "ChannelGroup", "Choice", "Measure", "PhaseResult", "Result"),
    *("ModuleExport", "Predictor", "Reconstruction", "SecateurError", "TorchNetwork"),
}
# What would take long if all were right: only arguments that are refused at once.
SLOW = {"compress", "compress_recipe", "export_model", "export_network"}


class Silent:
    """A reporter."""

    say = bar = staticmethod(lambda *_: None)


def build() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1))


def arguments(folder: Path) -> dict[str, dict[str, Any]]:
    """Arguments of every public function that it takes."""
    net, x = build(), torch.randn(1, 3, 4, 4)
    graph = secateur.channel_groups(net, x)
    kept = {"0": torch.arange(4)}
    slim = secateur.remove_filters(net, graph, kept)
    weights = secateur.prunable_weights(net, graph)
    blocks = secateur.prunable_blocks(net, graph)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    architecture = vgg_architecture(("a", "b"), size=32, widths=0.1, hidden=(16,), pool=1)
    vgg = build_vgg(architecture)
    mine, ours = folder / "mine.safetensors", folder / "ours.safetensors"
    secateur.save(mine, slim)
    secateur.save_network(ours, vgg, architecture, {})
    recipe = secateur.load_recipe("quickstart")
    network = {"model": net, "graph": graph}
    named = {"groups": ["0"], "ignore": ["2"]}
    chosen = {"graph": graph, "network": net, **named, "min_filters": 2, "round_to": 1}
    l1 = {"weights": weights, "strength": 0.1}
    functions = {"train": print, "evaluate": lambda _: 1.0, "retrain": print}
    return {
        "Budget": {"params": 100.0, "macs": 100.0},
        "Calibration": {"batches": [x], "inputs": lambda batch: batch, "loss": lambda *_: None},
        "Goal": {"keep_params": 0.5, "keep_macs": 0.5, "attempts": 2},
        "GroupProximal": {"blocks": blocks, "strength": 0.1},
        "L1Proximal": l1,
        "L1Subgradient": l1,
        "Method": {
            **{"penalty": secateur.PenaltySettings(), "threshold": secateur.ThresholdSettings()},
            **{"selection": secateur.SelectionSettings(), "removal": secateur.RemovalSettings()},
            **{"distill": 0.5, "training": True, "phases": ["0"], "ignore": ["2"]},
        },
        "Penalties": {"penalties": [], "weights": {"0.weight": weights[0]}, "strength": 0.1},
        "PenaltySettings": {"kind": "proximal", "strength": 0.1, "group_strength": 0.1},
        "RemovalSettings": {
            **{"reconstruct": True, "pictures": 8, "fold_means": True},
            **{"reestimate_norms": True, "batches": 5},
        },
        "SelectionSettings": {
            **{"criterion": "l1", "allocation": "cost", "balance": 1.0, "min_filters": 2},
            **{"round_to": 2, "runtime": "torch"},
        },
        "Target": {
            **{"format": "onnx", "precision": "fp32", "raw": False, "dynamic_batch": False},
            **{"shape": None, "score": 0.5, "max_drop": 1.0},
        },
        "ThresholdSettings": {"max_drop": 0.1, "resolution": 0.1, "scope": "global"},
        "apply_threshold": {"weights": weights, "threshold": 0.0, "units": None},
        "channel_groups": {"model": net, "example_inputs": x},
        "compress": {
            **{"model": net, "example_inputs": x, "goal": secateur.Goal(keep_params=0.5)},
            **{"calibration": secateur.Calibration([x]), "method": secateur.Method()},
            **{"report": print, **functions},
        },
        "compress_recipe": {
            **{"recipe": recipe, "folder": folder / "run", "reporter": Silent(), "pool": None},
        },
        "export_model": {
            **{"model": net, "example_inputs": x, "path": folder / "out.onnx"},
            "dynamic_batch": False,
        },
        "export_network": {
            **{"network": secateur.TorchNetwork.load(ours), "out": folder / "out.onnx"},
            **{"target": secateur.Target(), "data": None, "split": None, "bar": print},
        },
        "group_proximal_step": {"optimizer": optimizer, "blocks": blocks, "strength": 0.1},
        "l1_penalty": {"weights": weights},
        "load": {"path": ours},
        "load_model": {"path": ours, "factory": None, "allow_import": False},
        "load_network": {"path": ours},
        "load_recipe": {"path": "quickstart", "changes": ["seed=1"]},
        "make_penalty": {
            **{**network, **named, "kind": "proximal", "strength": 0.1},
            **{"group_strength": 0.1, "example_inputs": x},
        },
        "mask_filters": {**network, "selection": kept, "absent": False},
        "open_predictor": {"path": ours, "runtime": None, "settings": Evaluate(), "threads": None},
        "proximal_step": {"optimizer": optimizer, **l1},
        "prunable_blocks": {**network, **named},
        "prunable_weights": {**network, **named},
        "reconstruct": {
            **{"uncut": net, "slim": copy.deepcopy(slim), "graph": graph, "kept": kept},
            "inputs": [torch.randn(8, 3, 4, 4)],
        },
        "remove_filters": {**network, "selection": kept},
        "save": {
            **{"path": folder / "new.safetensors", "model": net, "provenance": {"by": "hand"}},
            **{"builder": "torch.nn:Sequential", "arguments": {}},
        },
        "save_network": {
            **{"path": folder / "new.safetensors", "model": vgg, "architecture": architecture},
            **{"provenance": {}},
        },
        "search_threshold": {
            **{"weights": weights, "evaluate": lambda: 1.0, "floor": 0.5, "resolution": 0.1},
            **{"units": [1.0] * len(weights)},
        },
        "select_by_budget": {
            **chosen,
            "goal": secateur.Goal(keep_params=0.9),
            "criterion": "l1",
            "balance": 1.0,
        },
        "select_by_sparsity": {**chosen, "goal": secateur.Goal(s_F=1.0, s_F_both=0.5, s_G=1.0)},
        "select_filters": {**chosen, "goal": secateur.Budget(params=100), "criterion": "l1"},
        "shrink_to": {"model": net, "path": mine},
        "thresholded": {"weights": weights, "threshold": 0.1, "units": None},
        "verify_removal": {
            **{**network, "slim": slim, "selection": kept, "example_inputs": x},
            "tolerance": 1e-4,
        },
        "zero_share": {"weights": weights, "threshold": 0.1, "units": None},
    }


NAMES = sorted(set(secateur.__all__) - RESULTS)


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return arguments(tmp_path_factory.mktemp("files"))


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A string is a path too, of a file that may be written."""
    monkeypatch.chdir(tmp_path)


def refusal(function: Callable[..., Any], given: dict[str, Any]) -> SecateurError | None:
    """The refusal of some arguments, in one line; None if they are taken."""
    error = None
    try:
        function(**given)
    except SecateurError as raised:
        error = raised
    assert error is None or len(str(error).splitlines()) == 1
    return error


def takes(hint: Any, kind: type) -> bool:
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return any(part in (kind, Any) for part in parts)


@pytest.mark.parametrize("name", NAMES)
def test_right_arguments_are_taken(name: str, right: dict[str, dict[str, Any]]) -> None:
    assert set(right) == set(NAMES)
    known = set(inspect.signature(getattr(secateur, name)).parameters)
    assert name in ("Goal", "Budget") or known == set(right[name])
    if name not in SLOW:
        assert refusal(getattr(secateur, name), right[name]) is None


@pytest.mark.parametrize("name", NAMES)
def test_each_argument_of_a_wrong_type(name: str, right: dict[str, dict[str, Any]]) -> None:
    function = getattr(secateur, name)
    hints = get_type_hints(function.__init__ if name == "Penalties" else function)
    for argument in right[name]:
        wrong: list[Any] = [object(), object]
        if "Any" not in str(hints[argument]):
            wrong += [[object()], {"a": object()}]
        wrong += [] if takes(hints[argument], NoneType) else [None]
        for value in wrong:
            hint = hints[argument]
            if "Callable" in str(hint) and value is object:
                continue  # a class can be called
            error = refusal(function, {**right[name], argument: value})
            assert isinstance(error, WrongTypeError), (argument, value, error)
            assert isinstance(error, TypeError)
            assert f"{argument}" in str(error)
            assert "; give " in str(error)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SLOW])
def test_arguments_that_are_swapped_or_strange(name: str, right: dict[str, dict[str, Any]]) -> None:
    function, given = getattr(secateur, name), right[name]
    for one, other in combinations(given, 2):
        refusal(function, {**given, one: given[other], other: given[one]})
    for argument in given:
        for value in ("text", "", -1, 0, float("nan"), float("inf"), True, torch.zeros(0), (), {}):
            refusal(function, {**given, argument: value})


NET, X = build(), torch.randn(1, 3, 4, 4)
GRAPH = secateur.channel_groups(NET, X)
KEPT = {"0": torch.arange(4)}
SLIM = secateur.remove_filters(NET, GRAPH, KEPT)
OTHER = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1))
CHOICE = secateur.select_filters(GRAPH, NET, secateur.Goal(keep_params=0.9))
TWICE = r"or of this one before a removal: 0.weight is \(4, 3, 1, 1\) here and \(8, 3, 1, 1\) there"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: secateur.remove_filters(NET, GRAPH, CHOICE),
            "selection is a Choice; give its kept",
        ),
        (
            lambda: secateur.remove_filters(GRAPH, NET, KEPT),
            "model is a ChannelGraph; give a torch",
        ),
        (
            lambda: secateur.remove_filters(nn.Conv2d, GRAPH, KEPT),
            "model is the class Conv2d; give",
        ),
        (
            lambda: secateur.remove_filters(NET, NET, KEPT),
            "graph is a Sequential; give the graph that channel_groups returned",
        ),
        (
            lambda: secateur.remove_filters(NET, GRAPH, {"0": [0, 1]}),
            r"selection\['0'\] is a list; give a tensor",
        ),
        (lambda: secateur.save(NET, "slim.safetensors"), "save: path is a Sequential; give a path"),
        (lambda: secateur.shrink_to("slim", NET), "model is 'slim'; give a torch.nn.Module"),
        (
            lambda: secateur.channel_groups(X, NET),
            "model is a Tensor; give a torch.nn.Module",
        ),
        (
            lambda: secateur.channel_groups(NET, [X]),
            "is a list; give a tensor, a tuple or a mapping",
        ),
        (
            lambda: secateur.search_threshold(NET.parameters(), lambda: 1.0, 0.5),
            "weights is a generator; give a list of tensors",
        ),
        (
            lambda: secateur.group_proximal_step(torch.optim.SGD(NET.parameters()), [X], 0.1),
            r"blocks\[0\] is a Tensor; give a Blocks",
        ),
        (
            lambda: secateur.Penalties().attach(NET),
            "optimizer is a Sequential; give one of torch.optim",
        ),
    ],
)
def test_what_is_of_another_type(call: Callable[[], object], words: str) -> None:
    with pytest.raises(WrongTypeError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: secateur.remove_filters(NET, GRAPH, {"0": torch.ones(8, dtype=torch.bool)}),
            r"0: kept is a tensor of bool of shape \(8,\); .* as mask.nonzero\(\).flatten\(\) does",
        ),
        (lambda: secateur.remove_filters(SLIM, GRAPH, KEPT), TWICE),
        (lambda: secateur.mask_filters(SLIM, GRAPH, KEPT), TWICE),
        (lambda: secateur.make_penalty(SLIM, GRAPH), TWICE),
        (lambda: secateur.prunable_weights(SLIM, GRAPH), TWICE),
        (lambda: secateur.select_filters(GRAPH, SLIM, secateur.Goal(keep_params=0.5)), TWICE),
        (lambda: secateur.verify_removal(SLIM, NET, GRAPH, KEPT, X), r"its 0.weight is|" + TWICE),
        (
            lambda: secateur.verify_removal(NET, NET, GRAPH, KEPT, X),
            r"slim is not what .* its 0.weight is \(8, 3, 1, 1\) and not \(4, 3, 1, 1\)",
        ),
        (lambda: secateur.remove_filters(OTHER, GRAPH, {}), r"0.weight is \(6, 3, 1, 1\) here"),
        (
            lambda: secateur.remove_filters(nn.Sequential(NET), GRAPH, {}),
            "the graph is of a module inside this one; give the module itself",
        ),
        (
            lambda: secateur.remove_filters(nn.Linear(3, 2), GRAPH, {}),
            "0.weight is missing here .*; call channel_groups on this network",
        ),
    ],
)
def test_graph_or_selection_of_another_network(call: Callable[[], object], words: str) -> None:
    with pytest.raises(PruningError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: secateur.Goal(keep_params=30), "keep_params is 30; give a share between 0 and 1"),
        (
            lambda: secateur.Budget(params=0.3),
            r"params is 0.3; .* a share by Goal\(keep_params=…\)",
        ),
        (lambda: secateur.SelectionSettings(criterion="l3"), "there is no criterion 'l3'"),
        (lambda: secateur.PenaltySettings("l1"), "there is no penalty 'l1'"),
        (lambda: secateur.make_penalty(NET, GRAPH, strength=-1.0), "strength must be"),
    ],
)
def test_settings_out_of_range_are_value_errors(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        call()
    assert isinstance(raised.value, PruningError)


def distributed(net: nn.Module) -> nn.Module:
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        return nn.parallel.DistributedDataParallel(net)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("wrap", "words"),
    [
        (nn.DataParallel, "model is a DataParallel; give its module"),
        (distributed, "model is a DistributedDataParallel; give its module"),
        (AveragedModel, "model is an AveragedModel; give its module"),
        (
            lambda net: torch.compile(net, backend="eager"),
            "model is an OptimizedModule; give the module that was compiled",
        ),
        (torch.jit.script, "model is a ScriptModule; give the module that was scripted"),
        (
            lambda net: torch.export.export(net, (torch.ones(1, 3, 4, 4),)),
            "model is an ExportedProgram; give the module that was exported",
        ),
    ],
)
def test_wrapped_network(wrap: Callable[[nn.Module], Any], words: str, tmp_path: Path) -> None:
    net, x = build(), torch.randn(1, 3, 4, 4)
    graph = secateur.channel_groups(net, x)
    kept = {"0": torch.arange(4)}
    path = tmp_path / "slim.safetensors"
    secateur.save(path, secateur.remove_filters(net, graph, kept))
    wrapped = wrap(net)
    calls: dict[str, Callable[[], object]] = {
        "channel_groups": lambda: secateur.channel_groups(wrapped, x),
        "remove_filters": lambda: secateur.remove_filters(wrapped, graph, kept),
        "compress": lambda: secateur.compress(
            wrapped, x, secateur.Goal(keep_macs=0.5), train=None, evaluate=lambda _: 1.0
        ),
        "save": lambda: secateur.save(tmp_path / "wrapped.safetensors", wrapped),
        "shrink_to": lambda: secateur.shrink_to(wrapped, path),
        "make_penalty": lambda: secateur.make_penalty(wrapped, graph),
    }
    for name, call in calls.items():
        with pytest.raises(WrongTypeError) as error:
            call()
        assert str(error.value) == f"{name}: {words}"
    assert not (tmp_path / "wrapped.safetensors").exists()


def test_sum_of_weights_takes_a_wrapped_network() -> None:
    net = build()
    assert secateur.l1_penalty(nn.DataParallel(net)) == secateur.l1_penalty(net)


def test_module_of_an_exported_program() -> None:
    x = torch.ones(1, 3, 4, 4)
    module = torch.export.export(build(), (x,)).module()
    with pytest.raises(ModelError, match=r"no modes of .*; give the module that was exported$"):
        secateur.channel_groups(module, x)
