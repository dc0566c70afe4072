"""Analytic derivatives: of a formula, or given as one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from shoal.expressions import Expression
from shoal.gradcheck.points import Point

Names = tuple[str, ...]


def label(names: Names) -> str:
    """`d/dx`, `d2/dxdy`, `d3/dx^2dy`."""
    if len(names) == 1:
        return f"d/d{names[0]}"
    parts = [(name, names.count(name)) for name in dict.fromkeys(names)]
    return f"d{len(names)}/" + "".join(f"d{name}{f'^{n}' if n > 1 else ''}" for name, n in parts)


class Analytic(ABC):
    """The derivatives of one function, each by the variables that `names` lists."""

    given: bool = False
    """Whether the user wrote them; one without a value is then a mistake of the user's."""

    @abstractmethod
    def at(self, place: Point) -> Mapping[Names, Tensor]:
        """The derivatives that are known at a place, each in the shape of its last variable."""

    @abstractmethod
    def again(self, place: Point) -> Mapping[Names, Tensor]:
        """Evaluate the formulas again that `at` found at its last place, which this is."""

    @abstractmethod
    def formulas(self) -> dict[str, str]:
        """Label -> formula."""

    def problems(self) -> Iterator[str]:
        """Why some are not known."""
        yield from ()


@dataclass(frozen=True)
class Written(Analytic):
    """Formulas, one for each derivative."""

    expressions: Mapping[Names, Expression]
    given: bool = False

    def at(self, place: Point) -> Mapping[Names, Tensor]:
        return {
            names: each(**place).detach().sum_to_size(place[names[-1]].shape)
            for names, each in self.expressions.items()
        }

    def again(self, place: Point) -> Mapping[Names, Tensor]:
        return self.at(place)

    def formulas(self) -> dict[str, str]:
        return {label(names): each.text for names, each in self.expressions.items()}
