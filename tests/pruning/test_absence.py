"""With NaN for what is absent, operators give what they give without it."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 # torch's habit
from torch import Tensor

from secateur.pruning.absence import Absence

KEPT = [0, 2, 3]

OPERATORS: dict[str, Callable[[Tensor], object]] = {
    "mean": lambda x: x.mean(1),
    "mean of all": lambda x: x.mean(),
    "sum": lambda x: x.sigmoid().sum((1, 2), keepdim=True),
    "variance": lambda x: torch.var_mean(x, 1),
    "deviation": lambda x: (x.std(1, correction=0), x.std(), x.var((1, 3), keepdim=True)),
    "norms": lambda x: (x.norm(dim=1), x.norm(p=1), F.normalize(x).mean(1)),
    "extremes": lambda x: (x.amax(1), x.amin((1, 2), keepdim=True), x.max(), x.max(1)[0].exp()),
    "layer norm": lambda x: F.layer_norm(x, x.shape[1:]).sum(1),
    "layer norm of positions": lambda x: F.layer_norm(x, x.shape[2:]).sum(1),
    "root mean square norm": lambda x: F.rms_norm(x.movedim(1, -1), x.shape[1:2]).sum(-1),
    "group norm": lambda x: F.group_norm(x, 1).sum(1),
    "instance norm": lambda x: F.instance_norm(x).sum(1),
    "batch norm in training": lambda x: F.batch_norm(x, None, None, training=True).sum(1),
    "rows standardised": lambda x: F.batch_norm(
        x.reshape(1, len(x), -1), None, None, training=True
    ).square().sum((1, 2)),
    "pooling": lambda x: F.adaptive_avg_pool2d(F.max_pool2d(x, 2), 1).sum(1),
}  # fmt: skip


def leaves(result: object) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


@pytest.mark.parametrize("name", OPERATORS)
def test_absent_channels_are_omitted(name: str) -> None:
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    masked = x.clone()
    masked[:, 1] = torch.nan
    with Absence():
        found = leaves(OPERATORS[name](masked))
    for a, b in zip(found, leaves(OPERATORS[name](x[:, KEPT])), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("transposed", [False, True])
def test_absent_filters_and_slices(transposed: bool) -> None:
    torch.manual_seed(0)
    convolve = F.conv_transpose2d if transposed else F.conv2d
    x, weight = torch.randn(2, 4, 6, 6), torch.randn(5, 4, 3, 3)
    marked = weight.clone()
    x[:, 1], marked[:, 1], marked[4] = torch.nan, torch.nan, torch.nan
    if transposed:
        weight, marked = weight.transpose(0, 1), marked.transpose(0, 1)
    with Absence():
        found = convolve(x, marked)
    small = weight.index_select(0 if transposed else 1, torch.tensor(KEPT))
    wanted = convolve(x[:, KEPT], small)
    torch.testing.assert_close(found[:, :4], wanted[:, :4])
    assert found[:, 4].isnan().all()


def test_absent_columns_and_rows_of_products() -> None:
    torch.manual_seed(0)
    a, b, bias = torch.randn(3, 4), torch.randn(4, 2), torch.randn(2)
    wanted = a[:, KEPT] @ b[KEPT]
    a[:, 1], b[1] = torch.nan, torch.nan
    with Absence():
        torch.testing.assert_close(a @ b, wanted)
        torch.testing.assert_close(F.linear(a, b.t(), bias), wanted + bias)
        torch.testing.assert_close(torch.bmm(a[None], b[None])[0], wanted)
        torch.testing.assert_close(a @ b[:, 0], wanted[:, 0])
        torch.testing.assert_close(a[0] @ b[:, 0], wanted[0, 0])
        b[:, 1] = torch.nan
        assert (a @ b).isnan().tolist() == [[False, True]] * 3
        a[2] = torch.nan
        assert (a @ b[:, 0]).isnan().tolist() == [False, False, True]
