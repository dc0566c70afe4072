"""Tables as people have them: each is learned from, and its own rows are read for a prediction as they were there."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import shoal
from shoal.cli import run as shoal_command
from shoal.tasks.tables import TableFile
from shoal.tasks.tables.kinds import restored
from shoal.tasks.tables.reading import read

N = 30


@dataclass(frozen=True)
class Known:
    """A table, how it has to be read, and what is then in its first columns."""

    name: str
    text: str
    kinds: str
    """What each feature is, in order."""
    first: tuple[Any, ...]
    """Values of the first row."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    written: Callable[[str], bytes] = str.encode
    n: int = N
    """How many rows it has."""


def rows(line: Callable[[int], str], head: str, n: int = N) -> str:
    """A table of `n` rows."""
    return "\n".join([head, *(line(i) for i in range(n))]) + "\n"


def german(number: float, decimals: int = 2) -> str:
    """A number with points between thousands and a comma for decimals."""
    return f"{number:,.{decimals}f}".translate(str.maketrans(",.", ".,"))


def arabic(number: str) -> str:
    """A number in Arabic digits, with the mark for decimals that goes with them."""
    digits = "".join(chr(0x660 + digit) for digit in range(10))
    return number.translate(str.maketrans("0123456789.", digits + "\u066b"))


TABLES = [
    Known("pandas.csv", rows(lambda i: f"{i},{i * 1.5},{'xyz'[i % 3]},{i + 0.5}", ",a,b,y"), "nc", (0.0, "x")),
    Known(
        "r.csv",
        rows(lambda i: f'"{i + 1}",{i * 1.5},"{"xyz"[i % 3]}",TRUE,{i + 0.5}', '"","a","b","ok","y"'),
        "ncc",
        (0.0, "x", "TRUE"),
    ),
    Known(
        "r_table.txt", rows(lambda i: f'"row {i}" {i * 1.5} {i + 0.5}', '"a" "y"'), "n", (0.0,), {"delimiter": "space"}
    ),
    Known(
        "excel.csv",
        rows(lambda i: f"{german(i * 999.5)};{i % 4};{german(i + 0.5)}", "Größe;b;y"),
        "nn",
        (0.0, 0.0),
        {"delimiter": "semicolon", "decimal": "comma", "thousands": "point"},
        lambda text: text.encode("cp1252"),
    ),
    Known("sep.csv", "sep=;\n" + rows(lambda i: f"{i * 1.5};{i % 4};{i + 0.5}", "a;b;y"), "nn", (0.0, 0.0)),
    Known(
        "unicode.txt",
        rows(lambda i: f"{i * 1.5}\tÖ{i % 2}\t{i + 0.5}", "a\tb\ty").replace("\n", "\r\n"),
        "nc",
        (0.0, "Ö0"),
        {"delimiter": "tab"},
        lambda text: text.encode("utf-16"),
    ),
    Known(
        "spectrometer.tsv",
        "# instrument: 7\n# 2026-01-31\n" + rows(lambda i: f" {400 + i}\t {i * 1e-3:.3E} \t{i + 0.5}", "nm \tE \ty"),
        "nn",
        (400.0, 0.0),
    ),
    Known(
        "numpy.txt",
        rows(lambda i: f"{i:.3e} {i % 4:.3e} {i + 0.5:.3e}", "# a b y"),
        "nn",
        (0.0, 0.0),
        {"delimiter": "space"},
    ),
    Known(
        "fixed.dat",
        rows(lambda i: f"{i:8.2f}   {i % 4:3d} {i + 0.5:8.1f}", "     a     b        y"),
        "nn",
        (0.0, 0.0),
        {"delimiter": "space"},
    ),
    Known(
        "packed.csv.gz",
        rows(lambda i: f"{i},{i % 4},{i + 0.5}", "a,b,y"),
        "nn",
        (0.0, 0.0),
        written=lambda t: gzip.compress(t.encode()),
    ),
    Known(
        "shop.csv",
        rows(
            lambda i: f'2026-{i % 12 + 1:02d}-03,"$1,{i:03d}.50",{i}%,{i % 3 or 12} kg,0{i % 5},{i + 0.5}',
            "day,price,off,weight,shop,y",
        ),
        "dnnnc",
        ("2026-01-03T00:00:00", 1000.5, 0.0, 12.0, "00"),
        {"thousands": "comma"},
    ),
    Known(
        "us.csv",
        rows(lambda i: f"{i % 12 + 1}/{i % 28 + 1}/2026 {i % 12 + 1}:30 PM,{i + 0.5}", "when,y"),
        "d",
        ("2026-01-01T13:30:00",),
    ),
    Known(
        "german_dates.csv",
        rows(lambda i: f"{i % 28 + 1}.{i % 12 + 1}.26,{i + 0.5}", "when,y"),
        "d",
        ("2026-01-01T00:00:00",),
        {"dates": "dmy"},
    ),
    Known(
        "iris.data.csv",
        rows(lambda i: f"{i}.5,{i % 4},{i + 0.5}", "0.25,0,0.75"),
        "nn",
        (0.25, 0.0),
        {"header": False, "target": "column_3"},
        n=N + 1,
    ),
    Known(
        "gaps.csv",
        rows(
            lambda i: (
                f"{-999 if i == 4 else i}, ,x{i % 2},{i + 0.5}"
                if i == 3
                else f"{-999 if i == 4 else i},{i},x{i % 2},{i + 0.5}"
            ),
            "a,b,c,y",
        ),
        "nnc",
        (0.0, 0.0, "x0"),
        {"missing": "mean", "missing_values": (-999,)},
    ),
    Known(
        "codes.csv",
        rows(lambda i: f"{i % 3}.0,{i},{i + 0.5}", "code,b,y"),
        "cn",
        ("0", 0.0),
        {"categorical": ("code",)},
    ),
    Known(
        "inches.csv",
        rows(lambda i: f'{i % 3 + 5}" {"pipe" if i % 2 else "rod"},{i},{i + 0.5}', "what,b,y"),
        "cn",
        ('5" rod', 0.0),
    ),
    Known("quoted.csv", rows(lambda i: f'{i}, "a, {i % 2}", {i + 0.5}', "a, b, y"), "nc", (0.0, "a, 0")),
    Known("mac.csv", rows(lambda i: f"{i},{i % 4},{i + 0.5}", "a,b,y").replace("\n", "\r"), "nn", (0.0, 0.0)),
    Known("trailing.csv", rows(lambda i: f"{i},{i % 4},{i + 0.5},", "a,b,y,") + ",,,\n,,,\n", "nn", (0.0, 0.0)),
    Known(
        "swiss.csv",
        rows(lambda i: f"1'{i:03d}.5,{i % 4},{i + 0.5}", "a,b,y"),
        "nn",
        (1000.5, 0.0),
        {"thousands": "apostrophe"},
    ),
    Known(
        "accounts.csv",
        rows(lambda i: f'"(${i},{i:03d}.50)",({i}.25),"{i + 1},10,{i:03d}",{i + 0.5}', "a,b,india,y"),
        "nnn",
        (-0.5, -0.25, 110000.0),
        {"thousands": "comma"},
    ),
    Known("blank.csv", rows(lambda i: f"{i},{i % 4},{i + 0.5}\n" + "\n" * (i % 2), "a,b,y\n"), "nn", (0.0, 0.0)),
    Known(
        "months.csv",
        rows(lambda i: f"{1949 + i // 12}-{i % 12 + 1:02d},{i % 4},{i + 0.5}", "a,b,y"),
        "dn",
        ("1949-01-01T00:00:00", 0.0),
    ),
    Known(
        "fortran.dat",
        rows(lambda i: f" {i}.5D+00 {i % 4}.25D-01 {i + 0.5}", "a b y"),
        "nn",
        (0.5, 0.025),
        {"delimiter": "space"},
    ),
    Known("spark.csv", rows(lambda i: f'"3\\", kind {i % 2}",{i},{i + 0.5}', "a,b,y"), "cn", ('3", kind 0', 0.0)),
    Known(
        "noted.csv",
        rows(lambda i: f"{i},{i % 4},{i + 0.5}" + "\n# recalibrated" * (i == 7), "a,b,y"),
        "nn",
        (0.0, 0.0),
    ),
    Known("each.csv", rows(lambda i: f"{i},{i % 4},{i + 0.5},", "a,b,y"), "nn", (0.0, 0.0)),
    Known("pandas.csv", rows(lambda i: f"{bool(i % 2)},{i % 4},{i + 0.5}", "a,b,y"), "cn", ("False", 0.0)),
    Known("huge.csv", rows(lambda i: f"{i + 1}e300,{i % 4},{i + 0.5}e-300", "a,b,y"), "nn", (1e300, 0.0)),
    Known("minus.csv", rows(lambda i: f"\u2212{i}.5,{i % 4},{i + 0.5}", "a,b,y"), "nn", (-0.5, 0.0)),
    Known("dashes.csv", rows(lambda i: f"\u2013{i}.5,\u2013{i}.5 \u20ac,{i + 0.5}", "a,b,y"), "nn", (-0.5, -0.5)),
    Known(
        "sap.csv",
        rows(lambda i: f"1.{i:03d},50-;{i},25 -;{i % 2}7,5 EUR;{german(i)}", "a;b;c;y"),
        "nnn",
        (-1000.5, -0.25, 7.5),
        {"delimiter": "semicolon", "decimal": "comma", "thousands": "point"},
    ),
    Known(
        "arabic.csv",
        rows(lambda i: f"{arabic(f'{i}.5')};{arabic(str(-(i % 4)))};{i + 0.5}", "a;b;y"),
        "nn",
        (0.5, 0.0),
        {"delimiter": "semicolon"},
    ),
    Known("wide.csv", rows(lambda i: f"\uff0d\uff12{i}.5,{i % 4},{i + 0.5}", "a,b,y"), "nn", (-20.5, 0.0)),
]


@pytest.mark.parametrize("known", TABLES, ids=lambda known: known.name)
def test_a_table_as_people_have_them_is_learned_and_its_rows_read_alike(workdir: Path, known: Known) -> None:
    (workdir / known.name).write_bytes(known.written(known.text))
    task = TableFile(**{"path": known.name, "target": "y", "val_fraction": 0.0, **known.settings})

    data = task.data()
    found = read(workdir / known.name, task.format)

    fitted = data.encoding["columns"]
    assert "".join(column["kind"][0] for column in fitted) == known.kinds
    values = [restored(column).read(found.frame[column["name"]], task.format)[0] for column in fitted]
    assert tuple(value.isoformat() if isinstance(value, datetime) else value for value in values) == known.first
    again = task.restored(data.encoding).encode(found.frame.to_dict(as_series=False), data)
    assert again.equal(data.train.x)
    assert len(data.train) == known.n


def test_what_01_is_does_not_depend_on_its_neighbors(workdir: Path) -> None:
    (workdir / "t.csv").write_text(rows(lambda i: f"0{i % 4},{i + 0.5}", "code,y"))
    task = TableFile(path="t.csv", target="y")

    encoding = task.data().encoding
    alone = task.encode({"code": ["01"]}, task.data())

    assert encoding["columns"][0]["categories"] == ["00", "01", "02", "03"]
    assert alone.tolist() == [[0, 1, 0, 0]]
    assert task.encode({"code": ["01", "00"]}, task.data())[:1].equal(alone)


@pytest.mark.usefixtures("unrendered")
def test_predictions_are_written_as_the_table_they_are_for(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "t.csv").write_text(rows(lambda i: f"{german(i * 1.5)};0{i % 3};{german(i)}", "a;code;y"))
    settings = ["task=csv", "task.path=t.csv", "task.target=y", "task.delimiter=semicolon", "task.decimal=comma"]
    run = shoal.train([*settings, "trainer.max_epochs=1", "callbacks=quiet", "logger=none", "hydra.run.dir=r"])
    capsys.readouterr()

    printed = shoal_command(["predict", "r", "--input", "t.csv"])
    shown = capsys.readouterr().out.splitlines()
    written = shoal_command(["predict", "r", "--input", "t.csv", "--output", "p.parquet"])

    assert (printed, written) == (0, 0)
    assert shown[0] == "a;code;y;y_predicted"
    assert shown[2].startswith("1,50;01;1,00;")
    float(shown[2].split(";")[-1].replace(",", "."))
    table = pl.read_parquet("p.parquet")
    assert table.schema["a"] == pl.Float64
    assert table["code"].to_list() == [f"0{i % 3}" for i in range(N)]
    torch.testing.assert_close(
        torch.tensor(table["y_predicted"].to_list()), torch.tensor(run.predict(table)["y"].to_list())
    )


@pytest.mark.usefixtures("unrendered")
def test_decimals_on_the_command_line_have_a_point_and_codes_stay(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "t.csv").write_text(rows(lambda i: f"{german(i * 1.5)};0{i % 3};{german(i)}", "a;code;y"))
    settings = ["task=csv", "task.path=t.csv", "task.target=y", "task.delimiter=semicolon", "task.decimal=comma"]
    run = shoal.train([*settings, "trainer.max_epochs=1", "callbacks=quiet", "logger=none", "hydra.run.dir=r"])
    capsys.readouterr()

    code = shoal_command(["predict", "r", "--x", "1.5,01"])

    (value,) = run.predict({"a": [1.5], "code": ["01"]})["y"]
    assert code == 0
    shown = pl.read_csv(capsys.readouterr().out.encode(), infer_schema=False, decimal_comma=True)
    assert shown["code"].to_list() == ["01"]
    assert float(shown["y"][0].replace(",", ".")) == pytest.approx(value)
