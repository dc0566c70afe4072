"""What is wrong with a table or with its settings is told with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from houses import refused, written


@pytest.mark.parametrize(
    ("text", "settings", "key", "says"),
    [
        ("a,b,price\n1,2,3\n", {"target": "prise"}, "task.target", "no such column|did you mean price? columns: a, b"),
        ("a,b,price\n1,2,3\n", {"features": ("a", "c")}, "task.features", "no column 'c'|columns: a, b, price"),
        ("a,b,price\n1,2,3\n", {"features": ("a", "price")}, "task.features", "the target 'price' is among them"),
        ("a,b,price\n1,2,3\n", {"features": ("a", "a")}, "task.features", "each of them once"),
        ("a,b,price\n1,2,3\n", {"categorical": ("z",)}, "task.categorical", "'z' is not among the features"),
        (
            "a,price\n1,2\nx,3\n4,5\ny,6\n7,8\n9,9\n",
            {},
            "task.path",
            "column 'a', row 2: 'x' is not a number; 2 such rows",
        ),
        (
            "a,price\n1,2\n3,oops\n4,5\n",
            {},
            "task.path",
            "column 'price', row 2: 'oops' is not a number; the only such",
        ),
        ("a,price\n1.5,2\nNaN,3\n4,5\n", {}, "task.path", "row 2 has no value for 'a'; 1 of 3 rows miss one (a: 1)"),
        ("a,price\n1.5,2\ninf,3\n4,5\n", {}, "task.path", "column 'a', row 2: inf is not a finite number; the only"),
        ("a,price\n,2\n,3\n", {}, "task.path", "column 'a' has no values"),
        ("a,price\n2020-01-01,2\n2020-01-02,3\n", {}, "task.path", "of the type Date"),
        ("", {}, "task.path", "is empty"),
        ("\n\n", {}, "task.path", "is empty"),
        ("a,price\n", {}, "task.path", "has a header but no rows"),
        ("a,price\n1,2\n1,2,3\n1\n", {}, "task.path", "row 2 has 3 fields, the header has 2; 2 rows do not fit"),
        ("a,b,price\n1,2,3\n1,2\n1,3,4\n", {}, "task.path", "row 2 has 2 fields, the header has 3; no other row does"),
        ("a;price\n1;2\n", {}, "task.path", "has the one column 'a;price'|set task.delimiter=semicolon"),
        ("a,a,price\n1,2,3\n", {}, "task.path", "has two columns named 'a'"),
        ("a,price\n1,yes\n2,yes\n", {}, "task.target", "has one class only: 'yes'"),
        ("a,price\n1,2.5\n2,2.5\n", {}, "task.target", "has the same value in every row: 2.5"),
        ("a,price\n1,x\n2,x\n3,y\n", {}, "task.target", "its class 'y' has a single row"),
        ("a,price\n1,x\n2,y\n", {"kind": "regression"}, "task.kind", "the target 'price' is no number"),
        (
            "a,price\n" + "".join(f"1,{i}.5\n" for i in range(50)),
            {"kind": "classification"},
            "task.kind",
            "has 50 different values in 50 rows: too many for classes",
        ),
        (
            "name,price\n" + "".join(f"n{i},{i}.5\n" for i in range(50)),
            {},
            "task.path",
            "more like a name than a category",
        ),
        ("a;price\n1,5;2\n2,5;3\n3,5;5\n", {"delimiter": "semicolon"}, "task.path", "set task.decimal=comma"),
        ("a,price\n1,2\n2,3\n3,5\n", {"batch_size": 3}, "task.batch_size", "larger than the 2 training samples"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_place(
    workdir: Path, text: str, settings: dict[str, Any], key: str, says: str
) -> None:
    defaults = {"path": written(workdir, text), "target": "price"}

    error = refused(**{**defaults, **settings})

    assert error.key == key
    for part in says.split("|"):
        assert part in error.text()


def test_text_far_down_in_a_numeric_column_is_found(workdir: Path) -> None:
    path = written(workdir, "a,price\n" + "1,2\n" * 15_000 + "x,3\n")

    assert "column 'a', row 15001: 'x' is not a number; the only such row" in refused(path=path, target="price").text()


def test_an_error_shows_the_path_and_the_features_as_they_were_given(houses_csv: Path) -> None:
    ragged = written(houses_csv.parent, "a,b,price\n1,2,3\n4,5\n")

    assert refused(path=ragged, target="price").value == "data.csv"
    error = refused(path="houses.csv", target="price", features=())
    assert error.text().startswith("error: task.features=[]: must be columns, at least one")
    assert "for example task.features=[area,rooms]" in error.text()
