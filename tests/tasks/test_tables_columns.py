"""What is told of the columns of a table: how they were read, and which of them a model had better not be given."""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shoal.tasks.tables import TableFile


def described(frame: pl.DataFrame, **settings: Any) -> list[str]:
    """The lines that are told of a table with the target y."""
    frame.write_csv("t.csv")
    return TableFile(path="t.csv", target="y", **settings).description().splitlines()


def drawn(n: int = 60) -> pl.DataFrame:
    """Two columns of noise, and a target that has little to do with them."""
    numbers = np.random.default_rng(0)
    a, b, noise = numbers.normal(size=(3, n))
    return pl.DataFrame({"a": a, "b": b, "y": a + noise})


def test_a_first_column_without_a_name_is_left_out_and_that_is_told(workdir: Path) -> None:
    header, *rows = drawn().write_csv().splitlines()
    Path("t.csv").write_text("\n".join([f",{header}", *(f"{i},{row}" for i, row in enumerate(rows))]))

    lines = TableFile(path="t.csv", target="y").description().splitlines()

    assert "the first column without a name left out: task.features=[Unnamed: 0]" in lines[-1]
    assert TableFile(path="t.csv", target="y").data().features == ("a", "b")
    assert TableFile(path="t.csv", target="y", features=("Unnamed: 0", "a")).inputs == 2


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("n", range(1, 61)),
        ("n", np.random.default_rng(0).permutation(60)),
        ("customer_id", range(100, 700, 10)),
        ("Nr", np.random.default_rng(0).permutation(600)[:60]),
    ],
)
def test_a_column_of_row_numbers_is_named(workdir: Path, name: str, values: Any) -> None:
    lines = described(drawn().with_columns(pl.Series(name, list(values))))

    assert lines[-1] == (
        f"warning: {name} holds row numbers, which tell nothing of a new row; task.exclude=[{name}] leaves it out"
    )
    assert not [line for line in described(drawn(), exclude=()) if line.startswith("warning")]
    assert "warning" not in "".join(described(pl.read_csv("t.csv").with_columns(q=pl.lit(1.5)), features=("a", "b")))


MISTAKEN = {
    "holds -999 in 9 of 60 rows, far from its other values; task.missing_values=[...,-999]": [
        -999.0 if i % 7 == 0 else i * 0.5 for i in range(60)
    ],
    "holds 9999 in 1 of 60 rows, far from": [9999.0 if i == 20 else i * 1.5 for i in range(60)],
    "holds dates as 20240101, which are taken for numbers": [20240101 + i % 28 for i in range(60)],
    "holds numbers in several units (g, kg), which are taken for categories": [
        f"{i % 9}{'kg' if i % 2 else 'g'}" for i in range(60)
    ],
    "holds numbers in several units (cm, inch), which": [f"{i % 9} {'cm' if i % 2 else 'inch'}" for i in range(60)],
    "is 'Total' in the last row, which is taken for one like the others": [
        "Total" if i == 59 else "ab"[i % 2] for i in range(60)
    ],
    "holds fractions as 0/2, which are taken for categories": [f"{i % 5}/{i % 3 + 2}" for i in range(60)],
    "holds times as 9:00, which are taken for categories; write 12:30 as 12.5": [f"9:0{i % 5}" for i in range(60)],
    "holds 'Yes', 'yes', which are taken for different categories": [("no", "yes", "Yes")[i % 3] for i in range(60)],
}
UNREAD: dict[str, list[object]] = {
    "holds times of several zones (+02:00, UTC), each taken as it is": [
        f"2026-01-{i % 28 + 1:02} 12:{i % 60:02}{('Z', '+00:00', '+0200')[i % 3]}" for i in range(60)
    ],
    "holds times of several zones (+01:00, none), each taken": [
        f"2026-01-{i % 28 + 1:02}T12:{i % 60:02}:07.5{('', '+01')[i % 2]}" for i in range(60)
    ],
    "holds 9007199254740993, whose last digits are lost, as": [2**53 + i**2 for i in range(60)],
    "holds -9007199254740993, whose last digits are lost": [f" {-(2**53) - i**2}" for i in range(60)],
    "holds 12345678901234567001, whose last digits are lost": [12345678901234567001 + i for i in range(60)],
    "holds 123456789012345678901, whose last": [f"{123456789012345678901 + i**2} Wei" for i in range(60)],
    "holds 1234567890123456789012, whose last digits": [f"{1234567890123456789012 + i**2}.50" for i in range(60)],
}
WHOLE: list[list[object]] = [
    [f"2026-01-{i % 28 + 1:02} 12:{i % 60:02}{('Z', '+00:00', 'UTC')[i % 3]}" for i in range(60)],
    [f"2026-01-{i % 28 + 1:02}" for i in range(60)],
    [float(2**53 + i**2) if i % 2 else 1.5e20 for i in range(60)],
    [2**53 - i**2 for i in range(60)],
]
MEANT: list[list[object]] = [
    [99 if i == 3 else i for i in range(60)],
    [-9.0 if i % 2 else 1.5 for i in range(60)],
    [20240101 + 50 * (i % 28) for i in range(60)],
    [f"{i % 9}{'abc'[i % 3]}" for i in range(60)],
    [f"{i % 4}{('th', 'st', 'nd', 'rd')[i % 4]}" for i in range(60)],
]


@pytest.mark.parametrize("said", MISTAKEN)
def test_a_column_whose_cells_seem_to_mean_something_else_is_named(workdir: Path, said: str) -> None:
    lines = described(drawn().with_columns(c=pl.Series(MISTAKEN[said])))

    assert lines[-1].startswith(f"warning: c {said}")


@pytest.mark.parametrize("said", UNREAD)
def test_what_the_values_of_a_column_have_not_of_its_cells_is_told(workdir: Path, said: str) -> None:
    lines = described(drawn().with_columns(c=pl.Series(UNREAD[said])))

    assert [line for line in lines if line.startswith(f"warning: c {said}")]


@pytest.mark.parametrize("dtype", [pl.Decimal(38, 0), pl.Decimal(38, 2), pl.Int128])
def test_long_whole_numbers_of_other_types_than_text_are_told_too(workdir: Path, dtype: pl.DataType) -> None:
    values = [decimal.Decimal(123456789012345678901 + i) for i in range(60)]
    drawn().with_columns(c=pl.Series(values).cast(dtype)).write_ipc("t.arrow")

    lines = TableFile(path="t.arrow", target="y").description().splitlines()

    assert [line for line in lines if "c holds 123456789012345678901, whose last digits are lost" in line]


@pytest.mark.parametrize("values", WHOLE)
def test_of_a_column_that_is_read_whole_nothing_is_said(workdir: Path, values: list[object]) -> None:
    lines = described(drawn().with_columns(c=pl.Series(values)))

    assert not [line for line in lines if "zones" in line or "digits" in line]


@pytest.mark.parametrize("values", MEANT)
def test_a_column_that_may_well_mean_what_it_says_is_not_named(workdir: Path, values: list[object]) -> None:
    lines = described(drawn().with_columns(c=pl.Series(values), d=pl.Series(values).shuffle(0)))

    assert not [line for line in lines if line.startswith("warning")]


def test_a_single_column_that_counts_is_what_a_function_is_learned_from(workdir: Path) -> None:
    lines = described(pl.DataFrame({"x": range(60), "y": [i**2 + 0.5 for i in range(60)]}))

    assert not [line for line in lines if line.startswith("warning")]


@pytest.mark.parametrize(
    ("target", "feature"),
    [
        (pl.col("y"), 2.54 * pl.col("y")),
        (pl.col("y"), -(pl.col("y").exp())),
        (pl.col("y") > 0, pl.when(pl.col("y") > 0).then(pl.lit("alive")).otherwise(pl.lit("dead"))),
        (pl.col("y") > 0, (pl.col("y") > 0).cast(pl.Int64)),
        (pl.col("y") > 0, pl.col("y").sign() * (1 + pl.int_range(pl.len()) % 5)),
    ],
)
def test_a_column_that_gives_the_target_away_is_named(workdir: Path, target: pl.Expr, feature: pl.Expr) -> None:
    lines = described(drawn().with_columns(leak=feature, y=target))

    assert lines[-1] == (
        "warning: leak gives y away: each value goes with one of the target's; task.exclude=[leak] leaves it out"
    )


def test_a_column_that_tells_much_but_not_all_is_not_named(workdir: Path) -> None:
    good = drawn().with_columns(c=pl.col("y") + 0.01 * pl.col("b"), kind=(pl.col("a") > 0).cast(pl.String))

    assert not [line for line in described(good) if line.startswith("warning")]
    assert not [line for line in described(good.with_columns(y=pl.col("a") + pl.col("b") > 0)) if "warning" in line]


def test_forty_columns_are_told_in_ten_lines(workdir: Path) -> None:
    frame = drawn().with_columns(
        *(pl.Series(f"a_rather_long_name_{i}", np.random.default_rng(i).normal(size=60)) for i in range(30)),
        *(pl.Series(f"city{i}", np.random.default_rng(i).choice(["Bergen", "Oslo"], 60)) for i in range(7)),
        pl.Series("id", range(60)),
        pl.Series("same", [14.62] * 60),
        gap=pl.when(pl.int_range(pl.len()) == 7).then(None).otherwise(pl.col("a")),
    )

    lines = described(frame, missing="mean")

    assert len(lines) <= 10
    assert lines[1].startswith("  35 numbers      a, b, a_rather_long_name_0, ")
    assert lines[2].endswith(" more")
    assert "  7 categories    city0 (2), city1 (2)" in "\n".join(lines)
    assert "  missing         gap (1)" in lines
    assert "  not used, always the same  same" in lines
    assert "  target          y: number" in lines


@pytest.mark.parametrize("jitter", [0.0, 1e-15, 3e-14])
def test_a_column_that_is_constant_but_for_rounding_is_no_input(workdir: Path, jitter: float) -> None:
    values = 14.62 + jitter * np.random.default_rng(0).choice([-1, 0, 1], 60)
    lines = described(drawn().with_columns(b=pl.Series(values)))
    task = TableFile(path="t.csv", target="y")

    far = task.encode({"a": [0.0, 0.0], "b": [14.62, 15.0]}, task.data())

    assert "  b  feature  number                  always the same in training: not used" in lines
    assert far[:, 1].tolist() == [0, 0]


def test_a_float32_column_that_is_constant_but_for_rounding_is_no_input(workdir: Path) -> None:
    values = np.float32(14.62) + np.spacing(np.float32(14.62)) * np.random.default_rng(0).choice([-1, 0, 1], 60)
    drawn().with_columns(b=pl.Series(values.astype(np.float32))).write_parquet("t.parquet")
    task = TableFile(path="t.parquet", target="y")

    assert task.encode({"a": [0.0], "b": [15.0]}, task.data())[0, 1] == 0


def test_a_column_that_varies_little_is_scaled_to_its_own_spread(workdir: Path) -> None:
    seconds = 1_700_000_000 + np.random.default_rng(0).integers(0, 100, 60)
    drawn().with_columns(b=pl.Series(seconds)).write_csv("t.csv")

    data = TableFile(path="t.csv", target="y", val_fraction=0.0).data()

    assert data.train.x[:, 1].std(correction=0) == pytest.approx(1, rel=1e-3)


def test_a_date_is_a_year_and_circles_of_month_and_weekday(workdir: Path) -> None:
    days = [f"{2020 + i % 3}-{i % 12 + 1:02d}-{i % 28 + 1:02d}" for i in range(60)]
    drawn().drop("b").with_columns(pl.Series("when", days)).write_csv("t.csv")
    task = TableFile(path="t.csv", target="y")
    data = task.data()
    fitted = data.encoding["columns"][1]

    monday, july = task.encode({"a": [0.0, 0.0], "when": ["2026-01-05", "2026-07-02"]}, data)[:, 1:].tolist()

    assert task.inputs == 6
    assert monday[0] * fitted["scale"] + fitted["mean"] == pytest.approx(2026 + 4 / 365)
    assert monday[1:] == pytest.approx([0, 1, 0, 1])
    assert july[0] * fitted["scale"] + fitted["mean"] == pytest.approx(2026.49863)
    angle = 2 * np.pi * 3 / 7
    assert july[1:] == pytest.approx([0, -1, np.sin(angle), np.cos(angle)], abs=1e-6)


def test_a_date_with_times_has_an_hour_too_and_a_missing_one_is_filled_in(workdir: Path) -> None:
    times = [f"2026-01-{i % 28 + 1:02d} {i % 24:02d}:30" for i in range(60)]
    drawn().drop("b").with_columns(pl.Series("when", [None, *times[1:]])).write_csv("t.csv")
    task = TableFile(path="t.csv", target="y", missing="mean")

    evening = task.encode({"a": [0.0], "when": ["2026-01-05 18:00"]}, task.data())[0, -2:]

    assert task.inputs == 8
    assert evening.tolist() == pytest.approx([-1, 0], abs=1e-6)
    assert task.data().train.x.isfinite().all()
