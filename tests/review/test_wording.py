"""How values are worded in a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs import make_sweep
from shoal.errors import shown
from shoal.review.catalog import find
from shoal.review.report.gather import gather
from shoal.review.wording import settings


@pytest.mark.parametrize(
    ("value", "brief"),
    [
        (0.0012321086432842655, "0.00123211"),
        ([0.0012321086432842655, 2], "[0.00123211,2]"),
        ({"lr": 0.0012321086432842655}, "{lr:0.00123211}"),
        (1e-05, "1e-05"),
        (1.0, "1.0"),
        (0.030303, "0.030303"),
        (12345678901, "12345678901"),
        (True, "true"),
        (None, "null"),
    ],
)
def test_of_a_long_number_six_digits_are_shown_and_a_short_one_as_it_is(value: object, brief: str) -> None:
    assert shown(value, brief=True) == brief


def test_what_follows_a_long_number_in_a_narrow_column_is_seen() -> None:
    assert settings({"optimizer.lr": 0.0012321086432842655, "seed": 1}, brief=True) == "lr=0.00123211 seed=1"
    assert settings({"optimizer.lr": 0.0012321086432842655}) == "optimizer.lr=0.0012321086432842655"


def test_configurations_that_differ_past_the_digits_shown_stay_apart(tmp_path: Path) -> None:
    make_sweep(tmp_path, {"optimizer.lr": [0.00123456781, 0.00123456782], "seed": [0, 1]})

    report = gather(find([tmp_path]), title="")

    assert [(group.label, len(group.rows)) for group in report.groups] == [("lr=0.00123457", 2)] * 2
