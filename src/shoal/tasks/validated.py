"""Tasks that keep some of their samples for validation: a random share, or one part of k-fold cross-validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge
from torch import Tensor

from shoal.errors import ConfigError
from shoal.tasks.data import Shares, Split
from shoal.tasks.task import Fraction, Task

_AUTO = 0.2


@dataclass(frozen=True, kw_only=True)
class Validated(Task):
    """A task with samples for validation."""

    val_fraction: Fraction | Literal["auto"] = 0.2
    """Share kept for validation of the samples that are not for the test; auto is 0.2, or none where a formula is
    fitted. Unused where there are folds."""
    test_fraction: Fraction = 0.0
    """Share kept for the test, the same for every seed and fold: only `shoal eval --test` looks at it."""
    folds: Annotated[int, Ge(2)] | None = None
    """Equal parts for k-fold cross-validation; null for one split by `val_fraction`."""
    fold: Annotated[int, Ge(0)] = 0
    """Which of the parts is for validation, counted from 0; the others are for training."""

    def __post_init__(self) -> None:
        if self.folds is None and self.fold:
            raise ConfigError("fold", self.fold, "has no effect without folds", hint="for example task.folds=5")
        if self.folds is not None and self.fold >= self.folds:
            raise ConfigError("fold", self.fold, f"must be from 0 to {self.folds - 1}: there are {self.folds} folds")

    @property
    def validates(self) -> bool:
        return self.folds is not None or self.held_back > 0

    @property
    def held_back(self) -> float:
        """Share kept for validation where there are no folds."""
        return _AUTO if self.val_fraction == "auto" else self.val_fraction

    def description(self) -> str | None:
        """Which fold this is: whoever sets the folds and no fold trains the first of them only."""
        if self.folds is None:
            return None
        return (
            f"fold {self.fold} of {self.folds} is for validation; for all of them in turn: -m task.folds={self.folds}"
        )

    @property
    def shares(self) -> Shares:
        """How the samples are shared out."""
        return Shares(
            seed=self.seed,
            val_fraction=self.held_back,
            test_fraction=self.test_fraction,
            folds=self.folds,
            fold=self.fold,
        )

    def n_train(self, n: int) -> int:
        """How many of `n` samples are for training."""
        # As `Shares.parts` takes them: known without drawing anything.
        n -= round(n * self.test_fraction)
        return n - (round(n * self.held_back) if self.folds is None else len(range(self.fold, n, self.folds)))

    def split(self, x: Tensor, y: Tensor) -> tuple[Split, Split | None, Split | None]:
        """Training, validation and test samples.

        Raises:
            ConfigError: where one of them would be empty although asked for.
        """
        train, val, test = (Split(x[part], y[part]) for part in self.shares.parts(len(x)))
        return train, val if len(val) else None, test if len(test) else None
