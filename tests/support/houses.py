"""A table of houses and their prices, and what is said of a table that cannot be learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shoal.errors import ConfigError
from shoal.tasks.tables import TableFile


def houses(n: int = 200, seed: int = 0) -> pl.DataFrame:
    """Area, rooms and city, from which the price follows but for a little noise."""
    drawn = np.random.default_rng(seed)
    area, rooms = drawn.normal(100, 20, n).round(2), drawn.integers(1, 40, n)
    city = drawn.choice(["Bergen", "Oslo", "Troms\u00f8"], n)
    price = 3 * area + 20 * rooms + 50 * (city == "Oslo") + drawn.normal(0, 2, n)
    return pl.DataFrame({"area": area, "rooms": rooms, "city": city, "price": price.round(2)})


def written(folder: Path, text: str, name: str = "data.csv") -> str:
    """Write a file with this text; its name."""
    (folder / name).write_text(text)
    return name


def refused(**settings: Any) -> ConfigError:
    """The error, of three lines at most, with which a table is refused."""
    with pytest.raises(ConfigError) as caught:
        TableFile(**settings).data()
    assert len(caught.value.text().splitlines()) <= 3
    return caught.value
