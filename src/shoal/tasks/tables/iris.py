"""The iris flowers (Fisher, "The use of multiple measurements in taxonomic problems", Annals of Eugenics 7, 1936)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import polars as pl

from shoal.tasks.tables.table import Table
from shoal.tasks.tables.table_settings import Kind


@dataclass(frozen=True, kw_only=True)
class Iris(Table):
    """The species of an iris, one of three, from length and width (cm) of its sepals and petals: 150 flowers.

    Measured by Anderson (1935), published by Fisher (1936), and in the public domain.
    """

    target: str = "species"
    kind: Kind | None = "classification"

    @property
    def name(self) -> str:
        return "iris"

    def frame(self) -> pl.DataFrame:
        return pl.read_csv(files(__package__).joinpath("iris.csv").read_bytes())
