"""Files that are written together are in place at the end of the block, each of them old or new."""

from pathlib import Path

import pytest

from shoal.errors import ShoalError
from shoal.rundir.atomic import append, copy, sync, together, write_text


def test_files_written_together_keep_their_old_content_until_the_end(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        write_text(path, "old")

    with together():
        for path in paths:
            write_text(path, "new")
        before = [path.read_text() for path in paths]

    assert before == ["old"] * 3
    assert [path.read_text() for path in paths] == ["new"] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_the_last_of_two_contents_written_together_stands(tmp_path: Path) -> None:
    with together():
        write_text(tmp_path / "a", "first")
        write_text(tmp_path / "a", "second")

    assert (tmp_path / "a").read_text() == "second"


def test_a_file_written_in_a_block_can_be_appended_to_and_copied_in_it(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    with together():
        write_text(path, "first ")
        append(path, b"second")
        sync(path)
        copy(path, other)

    assert path.read_text() == other.read_text() == "first second"


def test_what_was_written_before_an_exception_is_put_in_place(tmp_path: Path) -> None:
    def begin() -> None:
        with together():
            write_text(tmp_path / "a", "whole")
            raise ValueError("the next one")

    with pytest.raises(ValueError, match="the next one"):
        begin()

    assert (tmp_path / "a").read_text() == "whole"


def test_a_file_that_cannot_be_put_in_place_is_named_and_spares_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "in the way"

    def write() -> None:
        with together():
            write_text(tmp_path / "a", "whole")
            write_text(folder, "never")
            write_text(tmp_path / "z", "whole")
            (folder / "a file").mkdir(parents=True)

    with pytest.raises(ShoalError, match=r"cannot write .*in the way: Is a directory"):
        write()

    assert (tmp_path / "a").read_text() == (tmp_path / "z").read_text() == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "in the way", "z"]
