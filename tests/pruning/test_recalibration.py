"""What is recalibrated after a removal."""

import torch
from torch import Tensor, nn

from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.recalibration import fold_means, reestimate_norms
from secateur.pruning.removal import remove_filters


class Dead(nn.Module):
    """Channel 1 gives relu(0.5) everywhere, because its filter is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.second = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.first.weight[1] = 0
            self.first.bias.copy_(torch.tensor([0.1, 0.5, -0.2]))
            self.second.weight.copy_(torch.tensor([[1.0, 2, 3], [4, 6, 8]]).view(2, 3, 1, 1))
            self.second.bias.copy_(torch.tensor([0.25, -1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


def test_a_constant_channel_goes_without_a_trace() -> None:
    torch.manual_seed(0)
    model, x = Dead(), torch.randn(4, 3, 5, 5)
    graph = channel_groups(model, x)
    before = model(x)
    kept = {"first": torch.tensor([0, 2])}
    fold_means(model, graph, kept, (model(part) for part in x.split(2)))
    # 2 · 0.5 and 6 · 0.5 more.
    torch.testing.assert_close(model.second.bias.detach(), torch.tensor([1.25, 2.0]))
    slim = remove_filters(model, graph, kept)
    torch.testing.assert_close(slim(x), before)


def test_all_positions_of_a_channel_are_folded_into_a_linear_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    x = torch.randn(6, 3, 2, 2)
    graph = channel_groups(model, x)
    seen = model[:3](x).detach()
    wanted = model[3].bias.detach().clone()
    for output in range(3):
        for position in range(4, 8):  # channel 1, flattened
            mean = sum(float(row[position]) for row in seen) / 6
            wanted[output] += model[3].weight[output, position].item() * mean
    fold_means(model, graph, {"0": torch.tensor([0])}, (model(part) for part in x.split(3)))
    torch.testing.assert_close(model[3].bias.detach(), wanted)


def test_a_layer_without_bias_stays_and_modes_come_back() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False), nn.BatchNorm2d(2)
    ).train()
    x = torch.randn(2, 3, 4, 4)
    graph = channel_groups(model, x)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    fold_means(model, graph, {"0": torch.tensor([0, 1])}, (model(x) for _ in range(2)))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert all(module.training for module in model.modules())


def test_norms_hold_the_means_of_all_batches() -> None:
    model = nn.Sequential(nn.BatchNorm1d(1), nn.Dropout(0.99), nn.Linear(1, 1)).eval()
    first, second = torch.tensor([[0.0], [2.0]]), torch.tensor([[10.0], [14.0]])
    reestimate_norms(model, (model(x) for x in (first, second)))
    norm = model[0]
    assert norm.running_mean.tolist() == [6.5]  # of 1 and 12
    assert norm.running_var.tolist() == [5.0]  # of 2 and 8, unbiased
    assert norm.momentum == 0.1
    assert not any(module.training for module in model.modules())
