"""What is wrong with a table or with its settings is told with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from houses import refused, written
from shoal.tasks.tables import TableFile


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
        ("a,price\n1,2020-01-01\n2,2020-01-02\n", {}, "task.kind", "the target 'price' is a date"),
        (
            "a,price\n01/02/2020,2\n03/04/2020,3\n",
            {},
            "task.path",
            "'01/02/2020' may be read with the day first|set task.dates=dmy or task.dates=mdy",
        ),
        (
            "a,price\n2020-01-31,2\n2020-02-30,3\n2020-02-03,4\n",
            {},
            "task.path",
            "column 'a', row 2: '2020-02-30' is not a date as 2026-01-31 is",
        ),
        ("a,price\n1,2\n-,3\n4,5\n", {}, "task.path", "row 2: '-' is not a number|task.missing_values=[...,-]"),
        (
            "a,price\n1,2\n-,3\n4,5\n#DIV/0!,3\n5,6\n",
            {},
            "task.path",
            "row 2: '-' is not a number|add them to task.missing_values=[...,-,'#DIV/0!'] if they stand for no value",
        ),
        ("a,price\n1,2\n3,4\nSource: us\n", {}, "task.path", "row 3 has 1 fields|delete that row, the last one"),
        ("price\n1\n2\n", {}, "task.target", "is the only column: there is nothing to predict it from"),
        (
            "at,price\n" + "".join(f"12:{i},{i * 1.5}\n" for i in range(10, 40)),
            {},
            "task.path",
            "column 'at' holds times or durations as '12:10', which are no numbers|write 12:30 as 12.5",
        ),
        ("a,price\n$1,2\n$2,3\n7,5\n", {}, "task.path", "row 3: '7' is not a number with '$'; the only such row"),
        ("a,price\n1%,2\n2%,3\n7$,5\n", {}, "task.path", "row 3: '7$' is not a number with '%'; the only such row"),
        ("a,b,price\n1,2,3\n", {"exclude": ("c",)}, "task.exclude", "no column 'c'|columns: a, b, price"),
        ("a,b,price\n1,2,3\n", {"exclude": ("price",)}, "task.exclude", "the target 'price' is among them"),
        ("a,b,price\n1,2,3\n", {"exclude": ("a",), "features": ("a",)}, "task.exclude", "'a' is in task.features"),
        ("a,b,price\n1,2,3\n", {"numeric": ("c",)}, "task.numeric", "'c' is not among the features"),
        ("a,,price\n1,2,3\n", {}, "task.path", "column 2 has no name"),
        ("5.1,3.5,5.1\n4.9,3,1\n", {}, "task.path", "no names of columns in its first row|task.header=false"),
        ("<!DOCTYPE html>\n<html>", {}, "task.path", "is a web page or XML"),
        ("a,price\n1,2\n", {"encoding": "ascci"}, "encoding", "is no encoding that Python knows"),
        ("a,price\n1,2\n", {"decimal": "comma", "thousands": "comma"}, "thousands", "is what separates decimals"),
        ("", {}, "task.path", "is empty"),
        ("\n\n", {}, "task.path", "is empty"),
        ("a,price\n", {}, "task.path", "has a header but no rows"),
        (
            "What I measured\na,price\n1,2\n",
            {},
            "task.path",
            "row 1 has 2 fields, the header has 1; 2 rows|task.skip_rows",
        ),
        ("a,price\n1,2,5\n3,4,6\n", {}, "task.path", "row 1 has 3 fields, the header has 2; 2 rows do not fit"),
        ("a price\n1 2\n3 4\n", {}, "task.target", "the one column is 'a price': set task.delimiter=space"),
        ("a,price\nmm,2\n1,3\n4,5\n", {}, "task.path", "row 1: 'mm' is not a number|delete the row if it holds units"),
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


@pytest.mark.parametrize(
    ("cells", "settings", "way_out"),
    [
        (("1,234", "300", "5"), {}, "set task.thousands=comma"),
        (("1,234,567", "2,345", "5,678"), {}, "set task.thousands=comma"),
        (("1,234.5", "300.5", "5"), {}, "set task.thousands=comma"),
        (("1,5", "2,25", "3"), {}, "set task.decimal=comma"),
        (("1,234", "0,5", "3"), {}, "set task.decimal=comma"),
        (("1.234,5", "2,25", "3"), {}, "set task.decimal=comma task.thousands=point"),
        (("1 234", "2 345 678", "3"), {}, "set task.thousands=space"),
        (("1'234.50", "2'345.75", "3"), {}, "set task.thousands=apostrophe"),
        (("1.234", "300", "5"), {"decimal": "comma"}, "set task.decimal=comma task.thousands=point"),
        (("1.5", "300", "5"), {"decimal": "comma"}, "set task.decimal=point"),
        (("$1,234", "$300", "$5"), {}, "set task.thousands=comma"),
        (("1.234,50 €", "300,25 €", "5 €"), {}, "set task.decimal=comma task.thousands=point"),
    ],
)
def test_the_way_out_that_is_offered_for_numbers_reads_them_right(
    workdir: Path, cells: tuple[str, ...], settings: dict[str, Any], way_out: str
) -> None:
    path = written(workdir, "a\tprice\n" + "".join(f"{cell}\t{i}\n" for i, cell in enumerate(cells)), "t.tsv")
    meant = [float("".join(letter for letter in _plain(cell, way_out) if letter in "0123456789.")) for cell in cells]

    hint = refused(path=path, target="price", **settings).hint
    offered = dict(word.removeprefix("task.").split("=") for word in way_out.split()[1:])
    data = TableFile(path=path, target="price", val_fraction=0.0, **{**settings, **offered}).data()

    assert hint is not None
    assert hint.startswith(f"{way_out} if that is how")
    assert data.encoding["columns"][0]["mean"] == pytest.approx(sum(meant) / len(meant))


def _plain(cell: str, way_out: str) -> str:
    """A number as Python writes it."""
    return cell.replace(".", "").replace(",", ".") if "decimal=comma" in way_out else cell.replace(",", "")


def test_numbers_that_may_be_read_in_two_ways_are_not_guessed(workdir: Path) -> None:
    path = written(workdir, "a\tprice\n1,234\t1\n2,345\t2\n", "t.tsv")

    hint = refused(path=path, target="price").hint

    assert hint == ("if 1,234 is more than a thousand, set task.thousands=comma; if it is less, task.decimal=comma")


def test_digits_with_zeros_before_them_are_codes_unless_said_to_be_numbers(workdir: Path) -> None:
    path = written(workdir, "id,b,price\n" + "".join(f"{i:04d},{i % 7},{i}.5\n" for i in range(50)))

    error = refused(path=path, target="price")

    assert "column 'id' has 50 different values of digits as '0000' in 50 rows" in error.text()
    assert "leave it out: task.exclude=[id], or set task.numeric=[id] if they are numbers" in error.text()
    assert TableFile(path=path, target="price", exclude=("id",)).data().features == ("b",)
    assert TableFile(path=path, target="price", numeric=("id",)).inputs == 2


def test_a_byte_that_an_encoding_does_not_have_is_told_with_its_row(workdir: Path) -> None:
    (workdir / "t.csv").write_bytes(b"a,price\n1,2\n\x81,3\n")

    error = refused(path="t.csv", target="price")

    assert "row 2 is not in cp1252: the byte 0x81 stands for nothing there" in error.text()


def test_text_far_down_in_a_numeric_column_is_found(workdir: Path) -> None:
    path = written(workdir, "a,price\n" + "1,2\n" * 15_000 + "x,3\n")

    assert "column 'a', row 15001: 'x' is not a number; the only such row" in refused(path=path, target="price").text()


def test_an_error_shows_the_path_and_the_features_as_they_were_given(houses_csv: Path) -> None:
    ragged = written(houses_csv.parent, "a,b,price\n1,2,3\n4,5\n")

    assert refused(path=ragged, target="price").value == "data.csv"
    error = refused(path="houses.csv", target="price", features=())
    assert error.text().startswith("error: task.features=[]: must be columns, at least one")
    assert "for example task.features=[area,rooms]" in error.text()
