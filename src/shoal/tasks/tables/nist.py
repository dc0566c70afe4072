"""The nonlinear and the linear sets of NIST's Statistical Reference Datasets, whose best fits are certified."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import polars as pl

from shoal.errors import ConfigError, suggestion
from shoal.tasks.tables.table import Table
from shoal.tasks.tables.table_settings import Kind

OF_LOGARITHMS = ("Nelson",)
"""Sets whose formula is one of the logarithm of y, which takes its place here."""


@dataclass(frozen=True, kw_only=True)
class Nist(Table):
    """One of 27 nonlinear and 11 linear sets (Rogers et al., Statistical Reference Datasets, 1998; public domain)."""

    dataset: str = "Misra1a"
    """Its name there."""
    target: str = "y"
    kind: Kind | None = "regression"

    def __post_init__(self) -> None:
        super().__post_init__()
        known = _sets()["dataset"].unique().to_list()
        if self.dataset not in known:
            hint = suggestion(self.dataset, known)
            raise ConfigError("dataset", self.dataset, "is none of the sets", hint=hint)

    @property
    def name(self) -> str:
        return self.dataset

    def frame(self) -> pl.DataFrame:
        found = _sets().filter(pl.col("dataset") == self.dataset).drop("dataset")
        # The file of all sets has every column that any of them has.
        found = found.select(column for column in found if column.null_count() == 0)
        return found.with_columns(y=pl.col("y").log()) if self.dataset in OF_LOGARITHMS else found


@cache
def _sets() -> pl.DataFrame:
    return pl.concat([_read("nist.csv"), _read("nist_linear.csv")], how="diagonal")


def _read(name: str) -> pl.DataFrame:
    # By `cast` below: polars infers from the first rows, which may be whole numbers.
    found = pl.read_csv(files(__package__).joinpath(name).read_bytes(), infer_schema=False)
    return found.with_columns(pl.exclude("dataset").cast(pl.Float64))
