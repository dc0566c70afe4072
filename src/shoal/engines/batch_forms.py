"""What the batches of a run hold beside tensors: it may differ with their shapes, which all runs have alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.utils import _pytree as pytree

from shoal.engines.fixed_samples import NotGatherableError
from shoal.step.batch_parts import values_of, without
from shoal.step.plain_values import PlainValue
from shoal.step.transferred import forms_of

FIRST = 16
"""Batches whose values are compared before a training."""


class BatchForms:
    """The forms of batches, one for each set of shapes; values that differ among batches of one set are hidden."""

    def __init__(self, batches: Iterable[Any]) -> None:
        """`batches` are the first ones of an epoch, as `formed` makes them.

        Raises:
            NotGatherableError: where those of the same shapes differ in more than tensors and values.
        """
        self._hidden: set[int] = set()
        self._known: dict[Any, Any] = {}
        given, first = list(batches), dict[Any, list[PlainValue]]()
        for each in given:
            values = values_of(each)
            pairs = enumerate(zip(first.setdefault(forms_of(each), values), values, strict=False))
            self._hidden |= {place for place, (one, other) in pairs if one != other}
        if not all(self.knows(self.shown(each)) for each in given):
            raise NotGatherableError("its batches hold objects that differ in more than tensors, names and numbers")

    @property
    def kinds(self) -> list[Any]:
        """A batch of each form that has been seen."""
        return list(self._known.values())

    def shown(self, batch: Any) -> Any:
        """The batch without what is hidden."""
        return without(batch, self._hidden)

    def knows(self, batch: Any) -> bool:
        """Whether a batch has the form that steps of its shapes are traced with; the first of new shapes makes it."""
        known = self._known.setdefault(forms_of(batch), batch)
        return bool(pytree.tree_structure(batch) == pytree.tree_structure(known))
