"""What a formula's parameters are fitted for: one formula for each target, or a function that gives all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from shoal.errors import ConfigError, ShoalError, brief, raised_at
from shoal.expressions import Expression


class Curves(ABC):
    """Targets as a function of columns and parameters."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """How many targets it is for."""

    @abstractmethod
    def __call__(self, **values: Tensor) -> Float[Tensor, "samples outputs"]:
        """The targets of one run: of columns of shape (samples,) and parameters that are one number."""


@final
@dataclass(frozen=True)
class Formulas(Curves):
    """A formula for each target; all of them are elementwise."""

    each: tuple[Expression, ...]

    @property
    def outputs(self) -> int:
        return len(self.each)

    def __call__(self, **values: Tensor) -> Tensor:
        found = [formula(**values) for formula in self.each]
        return found[0][:, None] if len(found) == 1 else torch.stack(found, dim=-1)

    def __str__(self) -> str:
        return "; ".join(map(str, self.each))


@final
@dataclass(frozen=True)
class OwnCode(Curves):
    """A function of the user's own, as one that integrates a differential equation or solves an implicit one.

    It is given columns and parameters by their names, and gives a tensor of shape (samples,) for one target; for
    several a list of such tensors, or one of shape (samples, outputs).
    """

    call: Callable[..., Any]
    text: str
    n_outputs: int

    @property
    def outputs(self) -> int:
        return self.n_outputs

    def __call__(self, **values: Tensor) -> Tensor:
        try:
            found = self.call(**values)
        except ShoalError:
            raise
        except Exception as error:
            raise self._wrong(f"fails: {brief(error)} ({raised_at(error)})") from error
        return self._checked(found, values)

    def __str__(self) -> str:
        return self.text

    def _checked(self, found: Any, values: dict[str, Tensor]) -> Tensor:
        listed = list(found) if isinstance(found, list | tuple) else None
        if not all(isinstance(each, Tensor) for each in ([found] if listed is None else listed)):
            raise self._wrong(f"gives {type(found).__name__}, and must give a tensor, or a list of them")
        n = max((len(value) for value in values.values() if value.dim()), default=1)
        if listed is not None:
            # A target that depends on no column, as a parameter alone, is one number.
            listed = [each.expand(n) if each.dim() == 0 else each for each in listed]
        if listed is not None and len({each.shape for each in listed}) == 1:
            found = torch.stack(listed, dim=-1)
        given = tuple(found.shape) if isinstance(found, Tensor) else [tuple(each.shape) for each in listed or ()]
        if isinstance(found, Tensor) and found.dim() < 2 and self.n_outputs == 1:
            found = found.expand(n)[:, None] if found.dim() == 0 else found[:, None]
        if not isinstance(found, Tensor) or found.shape != (n, self.n_outputs):
            wanted = (n,) if self.n_outputs == 1 else (n, self.n_outputs)
            raise self._wrong(f"gives the shape {given}, and must give {wanted}")
        return found

    def _wrong(self, problem: str) -> ConfigError:
        return ConfigError("model.code", self.text, problem)


def by_group(
    curves: Curves,
    columns: Mapping[str, Float[Tensor, " samples"]],
    values: Mapping[str, Tensor],
    member: Bool[Tensor, "samples groups"],
    own: Sequence[str],
) -> Float[Tensor, "samples outputs"]:
    """The targets where each group has `own` parameters, as vectors: each group's from its own samples alone."""
    found = next(iter(values.values())).new_zeros(len(member), curves.outputs)
    for group, mask in enumerate(member.unbind(1)):
        rows = mask.nonzero()[:, 0]
        if len(rows):
            of_group = {name: value[group] if name in own else value for name, value in values.items()}
            there = {name: column[rows] for name, column in columns.items()}
            # Not written in place, which neither autograd nor vmap could follow.
            found = found.index_copy(0, rows, curves(**there, **of_group))
    return found
