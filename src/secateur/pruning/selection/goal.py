"""The goal of a compression: how far to go, stated in one way."""

import math
from dataclasses import dataclass

from secateur.errors import WrongValueError
from secateur.files.arguments import check_fields


@dataclass(frozen=True, slots=True)
class Goal:
    """How far to go: a budget, a maximum drop, or the published sparsity levels.

    Attributes:
        keep_params: share of the dense network's parameters left after the last phase, 0–1.
        keep_macs: share of its MACs, 0–1; with ``keep_params``, both hold.
        max_drop: what the slim network may lose, in the metric's unit; each phase searches for the
            smallest size that loses no more than its part.
        s_F: sparsity level of F_i that is enough by itself, 0–1 (paper, Algorithm 1).
        s_F_both: the paper's s'_F, the level of F_i that is enough together with ``s_G``.
        s_G: sparsity level of G_i, 0–1.
        attempts: sizes tried in each phase for ``max_drop``; each is retrained.

    Raises:
        WrongValueError: no goal or two are given, or an entry is out of range.
        WrongTypeError: an entry is no number.
    """

    keep_params: float | None = None
    keep_macs: float | None = None
    max_drop: float | None = None
    s_F: float | None = None
    s_F_both: float | None = None
    s_G: float | None = None
    attempts: int = 4

    def __post_init__(self) -> None:
        check_fields(self)
        levels = {"s_F": self.s_F, "s_F_both": self.s_F_both, "s_G": self.s_G}
        given = {name: level for name, level in levels.items() if level is not None}
        if (self.has_budget, bool(given), self.max_drop is not None).count(True) != 1:
            raise WrongValueError(
                "state one goal: keep_params and/or keep_macs; s_F, s_F_both and s_G; or max_drop"
            )
        if given and len(given) < len(levels):
            raise WrongValueError("s_F, s_F_both and s_G go together; give all three")
        keeps = {"keep_params": self.keep_params, "keep_macs": self.keep_macs}
        shares = given | {name: keep for name, keep in keeps.items() if keep is not None}
        for name, share in shares.items():
            if not 0 <= share <= 1 or (share == 0 and name in keeps):
                raise WrongValueError(f"{name} is {share:g}; give a share between 0 and 1")
        if self.s_F is not None and self.s_F_both is not None and self.s_F_both > self.s_F:
            raise WrongValueError(
                f"s_F_both ({self.s_F_both:g}) is above s_F ({self.s_F:g}); lower it"
            )
        if self.max_drop is not None and not 0 <= self.max_drop < math.inf:
            raise WrongValueError(
                f"max_drop is {self.max_drop:g}; give a loss of the metric, 0 or more"
            )
        if self.attempts < 1:
            raise WrongValueError(f"attempts is {self.attempts}; give a whole number, 1 or more")

    @property
    def has_budget(self) -> bool:
        """Whether parameters or MACs are limited."""
        return self.keep_params is not None or self.keep_macs is not None

    @property
    def levels(self) -> tuple[float, float, float] | None:
        """The published levels s_F, s'_F and s_G; None for another goal."""
        if self.s_F is None or self.s_F_both is None or self.s_G is None:
            return None
        return self.s_F, self.s_F_both, self.s_G

    def floor(self, dense_metric: float, phase: int, phases: int) -> float:
        """The least metric after a phase: the drop is spread evenly over the phases.

        Args:
            dense_metric: of the dense network.
            phase: number of the phase, from 1.
            phases: how many there are.
        """
        if self.max_drop is None:
            raise ValueError("only max_drop has a floor")
        return dense_metric - self.max_drop * phase / phases
