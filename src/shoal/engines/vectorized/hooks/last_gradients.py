"""The gradients that a run's last step has left, for its hooks: Lightning keeps them until a validation or a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from shoal.engines.stack.stack import Stack
from shoal.step.unfit import CannotStackError


class LastGradients:
    """Those of all runs of a stack."""

    def __init__(self) -> None:
        self._matrix: Tensor | None = None
        self._rows: Mapping[int, int] = {}
        """The row of each run in the matrix."""
        self._unreached: frozenset[int] = frozenset()
        self._given: set[int] | None = None
        """Runs that have theirs; None before there were any."""
        self.known = True
        """Whether the stack has those that a run has alone."""

    def left(self, matrix: Tensor | None, rows: Mapping[int, int], unreached: frozenset[int]) -> None:
        """Steps have left these, of a run in each row; None where alone they would be others."""
        self._matrix, self._rows, self._unreached = matrix, dict(rows), unreached
        self._given, self.known = set(), matrix is not None

    def dropped(self) -> None:
        """There are none any longer: a validation comes next."""
        self.left(None, {}, frozenset())
        self.known = True

    def give(self, run: int, module: nn.Module, stack: Stack) -> None:
        """Let the parameters of the run have them, once: what its own hooks do with them afterwards stays."""
        if self._given is None or run in self._given:
            return
        self._given.add(run)
        params = dict(module.named_parameters())
        for param in params.values():
            param.grad = None
        if self._matrix is None or run not in self._rows:
            return
        parts = stack.layout.parts(self._matrix[self._rows[run]])
        for number, (name, part) in enumerate(zip(stack.layout.names, parts, strict=True)):
            if number not in self._unreached:
                params[name].grad = part.to(params[name].device)


class Ungraded(TorchFunctionMode):
    """Within it nobody looks at gradients, which alone would be others."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func == Tensor.grad.__get__:  # type: ignore[union-attr]
            raise CannotStackError(
                "looks at the gradient that the last step has left (.grad), which its optimizer takes several times",
                "its norm is logged by itself",
            )
        return func(*args, **(kwargs or {}))
