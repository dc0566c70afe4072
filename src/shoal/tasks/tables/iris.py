"""The iris flowers (Fisher, 1936; Anderson, 1935), bundled with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from shoal.errors import UsageError
from shoal.tasks.tables.table import Kind, Table


@dataclass(frozen=True, kw_only=True)
class Iris(Table):
    """The species of an iris, one of three, from length and width (cm) of its sepals and petals: 150 flowers."""

    target: str = "species"
    kind: Kind | None = "classification"

    @property
    def name(self) -> str:
        return "iris"

    def frame(self) -> pl.DataFrame:
        """The flowers.

        Raises:
            UsageError: where scikit-learn, which has them, is not installed.
        """
        try:
            from sklearn.datasets import load_iris
        except ModuleNotFoundError as error:
            raise UsageError("task=iris needs scikit-learn", hint="pip install 'shoal[tables]'") from error
        flowers = load_iris()
        names = [name.removesuffix(" (cm)").replace(" ", "_") for name in flowers.feature_names]
        species = pl.Series("species", flowers.target_names[flowers.target])
        return pl.DataFrame(flowers.data, schema=names).with_columns(species)
