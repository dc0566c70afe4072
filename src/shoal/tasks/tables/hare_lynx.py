"""The pelts of hares and lynxes that the Hudson's Bay Company bought from 1900 to 1920, in thousands."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated

import polars as pl
from annotated_types import MinLen

from shoal.tasks.tables.table import Table
from shoal.tasks.tables.table_settings import Kind


@dataclass(frozen=True, kw_only=True)
class HareLynx(Table):
    """Year, pelts and their logarithms (Howard, Modeling Basics, 2009, after Hewitt, 1921)."""

    target: str | Annotated[tuple[str, ...], MinLen(1)] = ("log_hare", "log_lynx")
    kind: Kind | None = "regression"

    @property
    def name(self) -> str:
        return "hare_lynx"

    def frame(self) -> pl.DataFrame:
        found = pl.read_csv(files(__package__).joinpath("hare_lynx.csv").read_bytes())
        # A year is a time here, which a differential equation steps through.
        return found.with_columns(pl.col("year").cast(pl.Float64), pl.col("hare", "lynx").log().name.prefix("log_"))
