"""What a table is asked for with, and what it gives before anything of it is prepared."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

import polars as pl
from annotated_types import MinLen

from shoal.errors import ConfigError
from shoal.tasks.tables.format import Format
from shoal.tasks.tables.labelled import Missing, Weighing
from shoal.tasks.validated import Validated

Kind = Literal["regression", "classification"]


@dataclass(frozen=True, kw_only=True)
class TableSettings(Validated):
    """The settings of a table, and the table as it is read."""

    target: str | Annotated[tuple[str, ...], MinLen(1)]
    """Column to predict; a list of several, for which a formula is fitted or nothing is standardised."""
    features: tuple[str, ...] | None = None
    """Columns to predict it from; all others where null."""
    exclude: tuple[str, ...] = ()
    """Columns to leave out where it is predicted from all others."""
    categorical: tuple[str, ...] = ()
    """Columns of numbers that are names of categories, such as postal codes."""
    numeric: tuple[str, ...] = ()
    """Columns of texts that are numbers all the same: with zeros before them, which are codes else."""
    kind: Kind | None = None
    """What the target is; where null: classes if it is text, true or false, or at most 10 distinct whole
    numbers with three rows to each."""
    missing: Missing = "error"
    """What to do with a row without a value: refuse the table, leave the row out, or put in the mean of the column
    (its most frequent category). A row without a target is never used."""
    weight: str | None = None
    """Column with how much each row counts in the loss: numbers of at least 0. It is no feature."""
    sigma: str | Annotated[tuple[str, ...], MinLen(1)] | None = None
    """Column with the standard error of each row's target, in its units: a row counts as 1/sigma**2. It is no
    feature. Of several targets a list with a column for each."""
    absolute_sigma: bool = False
    """Take these standard errors as they are for those of a formula's parameters; else only their ratios count, and
    their size is told from the residuals."""
    standardize: bool | Literal["auto"] = "auto"
    """Put numbers, the target among them, on a scale with mean 0 and standard deviation 1; auto does, unless a formula
    is fitted, which is one of the numbers as they are."""

    @abstractmethod
    def frame(self) -> pl.DataFrame:
        """The whole table."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the table is called in texts."""

    @property
    def format(self) -> Format:
        """How texts in the table are written, and in the tables that the trained model predicts."""
        return Format()

    @property
    def unnamed(self) -> tuple[str, ...]:
        """Columns that hold the names of rows: left out unless they are asked for."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever trains should know of how the table was read."""
        return ()

    def test_frame(self) -> pl.DataFrame | None:
        """A table of its own for the test; None where the test part, if any, is a share of the whole one."""
        return None

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns to predict."""
        return (self.target,) if isinstance(self.target, str) else self.target

    @property
    def weighing(self) -> Weighing | None:
        """What tells how much each row counts, if anything does."""
        if self.weight is not None and self.sigma is not None:
            raise ConfigError("sigma", self.sigma, "cannot stand beside task.weight", hint="set one of them")
        if self.absolute_sigma and self.weight is None and self.sigma is None:
            problem = "there are no standard errors to take as they are"
            raise ConfigError("absolute_sigma", True, problem, hint="name their column: task.sigma=COLUMN")
        if isinstance(self.sigma, tuple):
            if len(self.sigma) != len(self.targets):
                problem = f"must be one column, or one for each of the {len(self.targets)} targets"
                raise ConfigError("sigma", self.sigma, problem)
            return Weighing(self.sigma, of_errors=True)
        column = self.weight if self.sigma is None else self.sigma
        return None if column is None else Weighing((column,), of_errors=self.sigma is not None)
