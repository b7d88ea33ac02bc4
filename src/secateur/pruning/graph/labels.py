"""Labels of channels: small integer tensors, and the forest that unites them.

A value's labels are a tensor of its shape. Dimensions in which they do not vary are expanded
(stride 0) and take almost no memory.
"""

import torch
from torch import Tensor

# The label of values that are the same everywhere, such as zeros: they fit any channel.
NONE = 0


class Forest:
    """A disjoint-set forest over labels, and the reasons why some of them are fixed.

    ``unite`` and ``fix`` only record; ``solve`` resolves all at once, which is far faster than
    label by label.
    """

    def __init__(self) -> None:
        self.count = 1  # NONE is the first
        self.edges: list[Tensor] = []
        self.fixes: list[tuple[Tensor, str]] = []

    def fresh(self, count: int) -> Tensor:
        """Return new labels, (count,)."""
        self.count += count
        return torch.arange(self.count - count, self.count)

    def unite(self, a: Tensor, b: Tensor) -> None:
        """Unite labels position by position; NONE unites with nothing."""
        shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]
        pairs = torch.stack([each.flatten() for each in compact(a.expand(shape), b.expand(shape))])
        self.edges.append(pairs[:, (pairs != NONE).all(0)])

    def fix(self, labels: Tensor, reason: str) -> None:
        """Record why these labels' channels must be kept; the first reason counts."""
        (small,) = compact(labels)
        self.fixes.append((small[small != NONE], reason))

    def solve(self) -> Tensor:
        """Return each label's root, the least label that it is united with."""
        roots = torch.arange(self.count)
        a, b = torch.cat([torch.empty(2, 0, dtype=torch.int64), *self.edges], 1)
        while not torch.equal(x := roots[a], y := roots[b]):
            roots.scatter_reduce_(0, torch.maximum(x, y), torch.minimum(x, y), "amin")
            while not torch.equal(further := roots[roots], roots):
                roots = further
        return roots

    def reasons(self, roots: Tensor) -> Tensor:
        """Return the index in ``fixes`` of each root's first reason, or ``len(fixes)``."""
        first = torch.full((self.count,), len(self.fixes))
        for i, (labels, _) in reversed(list(enumerate(self.fixes))):
            first[roots[labels]] = i
        return first


def along(labels: Tensor, dim: int, shape: torch.Size) -> Tensor:
    """Expand labels of one dimension to a shape that has them along ``dim``."""
    return labels.view([-1 if d == dim else 1 for d in range(len(shape))]).expand(shape)


def varying(labels: Tensor) -> list[int]:
    """Dimensions along which labels may differ."""
    return [d for d, s in enumerate(labels.stride()) if s != 0 and labels.shape[d] > 1]


def compact(*labels: Tensor) -> tuple[Tensor, ...]:
    """Reduce each dimension in which all these labels, of one shape, are expanded to one entry."""
    strides = zip(*(each.stride() for each in labels), strict=True)
    small = tuple(slice(None) if any(dim) else slice(0, 1) for dim in strides)
    return tuple(each[small] for each in labels)


def squeeze_out(labels: Tensor) -> Tensor:
    """Expand labels along each dimension in which they do not vary."""
    (small,) = compact(labels)
    for dim in varying(small):
        first = small.narrow(dim, 0, 1)
        if torch.equal(small, first.expand_as(small)):
            small = first
    return small.expand(labels.shape)


def sequence(labels: Tensor) -> Tensor:
    """Labels along the dimensions in which they vary, flattened."""
    return compact(labels)[0].flatten()
