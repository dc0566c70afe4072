"""What a stack keeps of the state of its runs' own optimizer objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from shoal.optimizers.rule import Column, Columns, Matrix, Rule, State

Kinds = Mapping[str, Any]
"""For each name in the state of a group of parameters the type of its matrix, or an example of what is one number."""


@final
@dataclass(frozen=True)
class ByObjects(Rule[None]):
    """No rule: the runs' own objects step them."""

    settings = ()
    state = ()

    whole: bool
    """Whether an object serves several runs, so that its state is matrices and numbers; otherwise each run has one."""
    kinds: tuple[Kinds, ...] = ()
    """Of each group."""
    asks: bool = False
    """Whether they ask for the loss again within a step."""
    by_hand: tuple[int, ...] = ()
    """How many groups each optimizer has that a module steps by hand: one may have stepped, and another not yet."""

    def init(self, params: Matrix) -> State:
        state: State = {name: torch.zeros(len(params), 1, dtype=torch.float64) for name in self._counts if self.by_hand}
        for place in range(len(self.kinds)):
            state |= {name: torch.zeros_like(params, dtype=self.kinds[place][name]) for name in self.matrices_of(place)}
            columns = self.columns_of(place).values()
            # In float64, which holds the steps of a counter exactly.
            state |= {name: torch.zeros(len(params), 1, dtype=torch.float64) for name in columns}
        return state

    def prepared(self, settings: Mapping[str, Column], dtype: torch.dtype) -> None:
        del settings, dtype

    def of_steps(
        self, settings: Mapping[str, Column], lrs: Columns, steps: Sequence[int], dtype: torch.dtype
    ) -> list[tuple[Column, ...]]:
        del settings, steps, dtype
        return [()] * len(lrs)

    def update(self, params: Matrix, grads: Matrix, state: State, settings: None, step: tuple[Column, ...]) -> None:
        raise NotImplementedError

    @property
    def _counts(self) -> list[str]:
        """The columns of the steps of each optimizer that a module steps by hand."""
        return [f"steps of {number}" for number in range(len(self.by_hand))]

    def groups_of(self, optimizer: int) -> range:
        """The places of the groups of an optimizer that is stepped by hand."""
        first = sum(self.by_hand[:optimizer])
        return range(first, first + self.by_hand[optimizer])

    def steps_of(self, optimizer: int) -> str:
        """The column with the steps that this optimizer has done."""
        return self._counts[optimizer]

    def has_begun(self, place: int, state: State, row: int, steps: int) -> bool:
        """Whether the object of this row, which has done so many steps, has stepped the group in this place."""
        if not self.by_hand:
            return steps > 0
        optimizer = next(number for number in range(len(self.by_hand)) if place in self.groups_of(number))
        return bool(state[self.steps_of(optimizer)][row, 0])

    def matrices_of(self, place: int) -> list[str]:
        """Names of what a group keeps number by number, in the shape of its parameters."""
        return [name for name, kind in self.kinds[place].items() if isinstance(kind, torch.dtype)]

    def columns_of(self, place: int) -> dict[str, str]:
        """The name of the column in the stack, for each single number that a group keeps."""
        kinds = self.kinds[place].items()
        return {name: f"{name}@{place}" for name, kind in kinds if not isinstance(kind, torch.dtype)}

    def numbers_of(self, place: int, state: State, row: int) -> dict[str, Any]:
        """The single numbers of a group as the object of this row keeps them."""
        return {
            name: self._number(self.kinds[place][name], state[column][row, 0])
            for name, column in self.columns_of(place).items()
        }

    def of_params(self, parts: Mapping[str, Sequence[Tensor]], state: State, row: int, sizes: Sequence[int]) -> Any:
        """The state of each parameter of a run as its own object has it: copies."""
        return list(self._each(parts, state, row, sizes))

    def _each(
        self, parts: Mapping[str, Sequence[Tensor]], state: State, row: int, sizes: Sequence[int]
    ) -> Iterator[dict[str, Any]]:
        number = 0
        for place, size in enumerate(sizes):
            for _ in range(size):
                matrices = {name: parts[name][number].clone() for name in self.matrices_of(place)}
                yield {**self.numbers_of(place, state, row), **matrices}
                number += 1

    def _number(self, example: Any, value: Tensor) -> Any:
        if isinstance(example, Tensor):
            return value.to(example.dtype).reshape(example.shape).clone()
        # A count that was an int to the object is one again, as its formulas expect.
        return type(example)(value.item())


def common(state: Mapping[Any, Any]) -> dict[Any, Any]:
    """What an object keeps in its state beside no parameter, as MADGRAD its count of steps."""
    return {name: value for name, value in state.items() if not isinstance(name, Tensor | int)}
