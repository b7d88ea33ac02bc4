"""What a training loop holds: penalties, attached once to an optimizer, that act at each step."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from secateur.errors import PruningError, WrongTypeError
from secateur.files.arguments import checked
from secateur.pruning.penalties.step_length import held_by


class Penalty(Protocol):
    """A penalty as a training loop calls it."""

    def before_step(self, optimizer: Optimizer | None = None) -> None:
        """Change the gradients; with an optimizer, only of the weights that it holds."""

    def after_step(self, optimizer: Optimizer) -> None:
        """Change the weights."""


class Penalties:
    """The penalties of one training, for any loop: attached once, or called at each step.

    ``penalties.attach(optimizer)`` is all that a loop needs, and works wherever torch's own
    optimizers take the step, as in Lightning and Fabric. An explicit loop calls
    ``before_step()`` between ``backward()`` and ``optimizer.step()``, and
    ``after_step(optimizer)`` after it. Without penalties it does nothing, so that the same loop
    retrains.

    Attributes:
        penalties: in the order they act.
        weights: the penalised ones by name; the optimizers must hold them.
        strength: λ, in units of the loss; None where there is no penalty.
        attached: whether ``attach`` was called.
        steps: how many steps of an optimizer it has seen.
        unreached: names of the weights that had no gradient, or no optimizer, at any step so far.
    """

    @checked
    def __init__(
        self,
        penalties: Sequence[Penalty] = (),
        weights: Mapping[str, nn.Parameter] | None = None,
        strength: float | None = None,
    ) -> None:
        self.penalties = tuple(penalties)
        self.weights = dict(weights or {})
        self.strength = strength
        self.attached = False
        self.steps = 0
        self.unreached = tuple(self.weights)
        self._handles: dict[Optimizer, tuple[RemovableHandle, RemovableHandle]] = {}

    def attach(self, optimizer: Optimizer) -> None:
        """Act at every step of an optimizer from now on; a second call changes nothing.

        Args:
            optimizer: any of ``torch.optim``, or a wrapper that has it as ``optimizer``, such as
                Fabric's and Accelerate's; call it once for each of several.

        Raises:
            WrongTypeError: it is no optimizer.
            PruningError: it holds none of the penalised weights.
        """
        optimizer = getattr(optimizer, "optimizer", optimizer)
        if not isinstance(optimizer, Optimizer):
            raise WrongTypeError(
                f"attach: optimizer is a {type(optimizer).__name__}; give one of torch.optim"
            )
        if self.weights and held_by(optimizer).isdisjoint(self.weights.values()):
            raise PruningError(
                "the optimizer holds none of the penalised weights; build it from the parameters "
                "of the model that train() was given"
            )
        self.attached = True
        if optimizer not in self._handles:
            self._handles[optimizer] = (
                optimizer.register_step_pre_hook(self._before),
                optimizer.register_step_post_hook(lambda it, _args, _kwargs: self.after_step(it)),
            )

    def detach(self) -> None:
        """Stop acting."""
        for handles in self._handles.values():
            for handle in handles:
                handle.remove()
        self._handles.clear()

    def before_step(self, optimizer: Optimizer | None = None) -> None:
        """Change the gradients; with an optimizer, only of the weights that it holds."""
        for penalty in self.penalties:
            penalty.before_step(optimizer)

    def after_step(self, optimizer: Optimizer) -> None:
        """Change the weights."""
        self.steps += 1
        if self.unreached:
            held = held_by(optimizer)
            weights = self.weights
            self.unreached = tuple(
                n for n in self.unreached if weights[n].grad is None or weights[n] not in held
            )
        for penalty in self.penalties:
            penalty.after_step(optimizer)

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        """Change the gradients before a step, or after a closure has computed them."""
        given = dict(zip(("self", "closure"), args, strict=False)) | kwargs
        closure = given.get("closure")
        if closure is None:
            self.before_step(optimizer)
            return None

        def with_penalty() -> Any:
            value = closure()
            self.before_step(optimizer)
            return value

        return args[:1], {**kwargs, "closure": with_penalty}
