"""Files that hold tables: their formats, when they are read, and what is said of those that cannot be."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from houses import houses, refused, written
from shoal.tasks.tables import TableFile


@pytest.mark.parametrize("extension", ["csv", "tsv", "csv.gz", "parquet", "arrow", "feather"])
def test_every_format_gives_the_same_samples(workdir: Path, extension: str) -> None:
    frame = houses()
    frame.write_csv("a.csv")
    path = f"b.{extension}"
    match extension:
        case "tsv":
            frame.write_csv(path, separator="\t")
        case "csv.gz":
            import gzip

            Path(path).write_bytes(gzip.compress(frame.write_csv().encode()))
        case "parquet":
            frame.write_parquet(path)
        case "arrow" | "feather":
            frame.write_ipc(path)
        case _:
            frame.write_csv(path)

    expected = TableFile(path="a.csv", target="price").data()
    measured = TableFile(path=path, target="price").data()

    assert measured.train.x.equal(expected.train.x)
    assert measured.train.y.equal(expected.train.y)


def test_a_file_written_in_another_country_is_read_with_its_separators(workdir: Path) -> None:
    path = written(workdir, "a;price\n1,5;2,5\n2,5;4\n3,5;6\n4;7,5\n")

    data = TableFile(path=path, target="price", delimiter="semicolon", decimal="comma", val_fraction=0.0).data()

    assert data.encoding["columns"][0]["mean"] == pytest.approx(2.875)
    assert data.encoding["mean"] == pytest.approx(5)


def test_a_european_file_is_told_its_delimiter_then_its_decimals(workdir: Path) -> None:
    path = written(workdir, "a;price\n" + "1,5;2,25\n" * 30)

    assert "set task.delimiter=semicolon" in refused(path=path, target="price").text()
    assert "set task.decimal=comma" in refused(path=path, target="price", delimiter="semicolon").text()


def test_a_file_without_a_header_is_told_so_where_a_column_is_missing(workdir: Path) -> None:
    path = written(workdir, "1.5,2\n3.5,4\n")

    assert "its first row is taken for the names" in refused(path=path, target="price").text()


def test_a_file_of_another_kind_is_refused(workdir: Path) -> None:
    (workdir / "data.xlsx").write_bytes(b"PK")
    (workdir / "data.parquet").write_bytes(b"PK")
    (workdir / "workbook.csv").write_bytes(b"PK\x03\x04...")

    assert "has the extension .xlsx, which no reader is for" in refused(path="data.xlsx", target="price").text()
    assert "is no Parquet file" in refused(path="data.parquet", target="price").text()
    assert (
        "is a workbook or another ZIP archive\n  save it as CSV" in refused(path="workbook.csv", target="price").text()
    )


def test_a_file_in_no_unicode_is_read_as_windows_writes_it_and_that_is_told(workdir: Path) -> None:
    Path("latin.csv").write_bytes("caf\u00e9,price\n1,1.5\n2,2.5\n3,3.5\n".encode("cp1252"))

    guessed = TableFile(path="latin.csv", target="price", val_fraction=0.0)
    said = TableFile(path="latin.csv", target="price", val_fraction=0.0, encoding="cp1250")

    assert guessed.data().features == said.data().features == ("caf\u00e9",)
    assert "not in UTF-8: read as cp1252; task.encoding names another encoding" in guessed.description()
    assert "cp1252" not in said.description()


def test_a_missing_file_is_named_with_the_directory_and_the_nearest_name(houses_csv: Path) -> None:
    error = refused(path="house.csv", target="price")

    assert error.text() == (
        f"error: task.path=house.csv: no such file; the working directory is {houses_csv.parent}\n"
        "  did you mean houses.csv?"
    )
    assert "is a directory" in refused(path=".", target="price").text()


def test_the_table_is_not_touched_before_it_is_needed() -> None:
    assert TableFile(path="nowhere.csv", target="price").validates


def test_the_file_is_read_once_and_again_when_it_changes(houses_csv: Path) -> None:
    task = TableFile(path="houses.csv", target="price")
    first = task.data()

    assert TableFile(path="houses.csv", target="price", batch_size=10).data() is first
    houses(seed=1).write_csv(houses_csv)
    os.utime(houses_csv, ns=(1, 1))
    assert not task.data().train.y.equal(first.train.y)


def test_the_digest_is_that_of_the_file(houses_csv: Path) -> None:
    assert TableFile(path="houses.csv", target="price").digest == hashlib.sha256(houses_csv.read_bytes()).hexdigest()
