"""Finding runs and sweeps: all that is there is listed, whatever state it is in."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from faults import in_child, obey_permissions
from runs import make_run, make_sweep
from shoal.app.verify import verify
from shoal.errors import UsageError
from shoal.review import catalog
from shoal.review.catalog import find
from shoal.review.entries import DAMAGED, RunEntry, SweepEntry, runs, untimed
from shoal.review.reference import completions, resolve
from shoal.rundir import ListedRun, RunInfo, Status, SweepDir, SweepInfo, write_sweep


def test_runs_and_sweeps_are_found_newest_first(tmp_path: Path) -> None:
    first = make_run(tmp_path)
    sweep = make_sweep(tmp_path, {"seed": [0, 1]})
    last = make_run(tmp_path, task="sin_x2")

    found = find([tmp_path])

    assert [entry.path for entry in found] == [last.path, sweep.path, first.path]
    assert [run.path.name for run in runs(found)[1:3]] == ["0000", "0001"]


def test_a_folder_given_twice_is_listed_once(tmp_path: Path) -> None:
    run = make_run(tmp_path)

    found = find([tmp_path, tmp_path / "parabola", run.path])

    assert [entry.path for entry in found] == [run.path]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a directory"):
        find([tmp_path / "nowhere"])


def test_run_json_cut_at_any_offset_is_listed_as_damaged_beside_the_others(tmp_path: Path) -> None:
    whole = make_run(tmp_path)
    cut = make_run(tmp_path, versions={}, hardware={}, artifacts={}, choices={}, overrides=[], command=[])
    content = cut.info.read_bytes()

    for length in range(len(content) - 1):
        cut.info.write_bytes(content[:length])
        found = {entry.path: entry for entry in find([tmp_path])}
        assert found[cut.path].status == "damaged", length
        assert found[cut.path].reason.startswith("run.json is damaged: "), length
        assert found[whole.path].status == "completed"


def test_metrics_csv_cut_anywhere_is_listed_as_damaged_with_its_results(tmp_path: Path) -> None:
    cut, whole = make_run(tmp_path), make_run(tmp_path)
    content = cut.history.read_bytes()

    for length in range(0, len(content), 31):
        cut.history.write_bytes(content[:length])
        damaged, intact = sorted(runs(find([tmp_path])), key=lambda entry: entry.path == whole.path)

        assert (damaged.status, intact.status) == (DAMAGED, "completed")
        assert damaged.reason == f"metrics.csv has {length} of {len(content)} bytes"
        assert damaged.info is not None
        assert "val/loss" in damaged.info.final


def test_sweep_json_cut_at_any_offset_is_listed_as_damaged_with_its_runs(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, {"seed": [0, 1]})
    content = sweep.info.read_bytes()

    for length in range(0, len(content) - 1, 7):
        sweep.info.write_bytes(content[:length])
        (entry,) = find([tmp_path])
        assert entry.status == "damaged", length
        assert [run.status for run in entry.runs] == ["completed", "completed"]


def test_a_sweep_of_a_later_version_is_told_and_not_guessed_at(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, {"seed": [0]})
    sweep.info.write_text(json.dumps({**json.loads(sweep.info.read_text()), "schema": 99}))

    (entry,) = find([tmp_path])

    assert entry.status == "damaged"
    assert "later version of shoal (schema 99)" in str(entry.reason)


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"null",
        b'{"schema": 1}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b'{"schema": 99, "id": "a", "task": "b", "status": "completed", "engine": "c", "seed": 1}',
        b'{"schema": 1, "id": 3, "task": "b", "status": "completed", "engine": "c", "seed": 1}',
        b'{"schema": 1, "id": "a", "task": "b", "status": "done", "engine": "c", "seed": 1}',
        b'{"schema": 1, "id": "a", "task": "b", "status": "completed", "engine": "c", "seed": 1, "final": [1]}',
        b'{"schema": 1, "id": "a", "task": "b", "status": "completed", "engine": "c", "seed": 1, "best": {}}',
        b'{"schema": 1, "id": "a", "task": "b", "status": "completed", "engine": "c", "seed": 1, "command": [1]}',
    ],
)
def test_json_of_another_form_is_listed_as_damaged(content: bytes, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.info.write_bytes(content)

    (entry,) = find([tmp_path])

    assert entry.status == "damaged"
    assert entry.reason


def test_numbers_that_json_has_no_word_for_are_read_back(tmp_path: Path) -> None:
    run = make_run(tmp_path, final={"val/loss": float("nan"), "train/loss": float("inf")})

    (entry,) = find([tmp_path])

    assert json.loads(run.info.read_text())["final"] == {"val/loss": "nan", "train/loss": "inf"}
    assert str(entry.info.final["val/loss"]) == "nan"
    assert entry.info.final["train/loss"] == float("inf")


def test_a_run_json_larger_than_is_read_at_once_is_read_to_its_end(tmp_path: Path) -> None:
    words = [f"task.note='{number}'" for number in range(20_000)]
    run = make_run(tmp_path, command=words)

    (entry,) = find([tmp_path])

    assert run.info.stat().st_size > 3 * 65536
    assert (entry.status, entry.info.command) == ("completed", words)


def test_unlisted_parts_of_run_json_that_are_wrong_are_damage_once_read(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    content = json.loads(run.info.read_text())
    run.info.write_text(json.dumps({**content, "versions": 3}))

    (entry,) = find([tmp_path])

    assert (entry.status, entry.info, entry.status) == ("completed", None, "damaged")
    assert entry.reason.startswith("run.json is damaged: versions")


def test_a_run_without_run_json_is_damaged_and_an_empty_folder_is_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.info.unlink()
    (tmp_path / "parabola" / "empty").mkdir()

    (entry,) = find([tmp_path])

    assert (entry.path, entry.status) == (run.path, "damaged")
    assert "run.json is missing" in entry.reason


def test_a_folder_without_permission_is_listed_as_damaged(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.path.chmod(0)

    def work() -> None:
        obey_permissions()
        (entry,) = find([tmp_path])
        print(entry.status, entry.reason)

    code = in_child(work, log=tmp_path / "log")
    run.path.chmod(0o755)

    assert code == 0
    assert (tmp_path / "log").read_text() == "damaged run.json cannot be read: Permission denied\n"


def test_a_run_directory_that_is_a_file_inside_is_listed_as_damaged(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.info.unlink()
    run.info.mkdir()

    (entry,) = find([tmp_path])

    assert entry.reason == "run.json cannot be read: Is a directory"


def test_a_run_whose_process_is_gone_is_lost(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    make_run(tmp_path, name="a", status=Status.RUNNING, pid=int(ended.stdout), host=platform.node())
    make_run(tmp_path, name="b", status=Status.RUNNING, pid=os.getpid(), host=platform.node())
    make_run(tmp_path, name="c", status=Status.RUNNING, pid=int(ended.stdout), host="another-machine")

    found = {entry.id: entry for entry in find([tmp_path])}

    assert {name: entry.status for name, entry in found.items()} == {"a": "lost", "b": "running", "c": "running"}
    assert "shoal resume a" in found["a"].reason


def silence(path: Path, seconds: int) -> None:
    """Let a file have been touched that long ago."""
    touched = path.stat().st_mtime - seconds
    os.utime(path, (touched, touched))


@pytest.mark.parametrize(("silent", "status"), [(0, "running"), (3600, "lost")])
def test_a_run_elsewhere_is_lost_once_it_is_silent(silent: int, status: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, name="a", status=Status.RUNNING, pid=1, host="another-machine", beats=15.0)
    silence(run.info, silent)

    (entry,) = find([tmp_path])

    assert entry.status == status
    assert entry.reason == ("pid 1 on another-machine is gone; shoal resume a" if status == "lost" else None)


def test_a_run_of_a_lost_sweep_that_is_gone_on_with_by_itself_is_running(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    for name, beats in {"0000": None, "0001": 15.0}.items():
        make_run(tmp_path, path=sweep.path / name, status=Status.RUNNING, pid=1, host="another-machine", beats=beats)
    info = SweepInfo(id="s", task="parabola", status=Status.RUNNING, pid=1, host="another-machine", beats=15.0)
    write_sweep(sweep.info, info)
    silence(sweep.info, 3600)

    (entry,) = find([tmp_path])

    assert [run.status for run in entry.runs] == ["lost", "running"]


@pytest.mark.parametrize(("silent", "status"), [(0, "running"), (3600, "lost")])
def test_a_sweep_elsewhere_is_lost_with_its_runs_once_it_is_silent(silent: int, status: str, tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "sweep")
    make_run(tmp_path, path=sweep.path / "0000", status=Status.RUNNING, pid=1, host="another-machine")
    info = SweepInfo(id="s", task="parabola", status=Status.RUNNING, pid=1, host="another-machine", beats=15.0)
    write_sweep(sweep.info, info)
    silence(sweep.info, silent)

    (entry,) = find([tmp_path])

    assert [entry.status, *(run.status for run in entry.runs)] == [status, status]


def test_directories_of_another_hydra_program_are_found(tmp_path: Path) -> None:
    for job in ("0", "1"):
        folder = tmp_path / "multirun" / "2026-11-02" / "10-00-00" / job / ".hydra"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(f"lr: {job}\n")

    found = find([tmp_path])

    assert sorted(entry.id for entry in found) == ["10-00-00/0", "10-00-00/1"]
    assert {entry.status for entry in found} == {"unknown"}


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    make_run(tmp_path / "elsewhere")
    root = tmp_path / "outputs"
    run = make_run(root)
    (root / "parabola" / "other").symlink_to(tmp_path / "elsewhere" / "parabola")
    (root / "loop").symlink_to(root)

    found = find([root])

    assert [entry.path for entry in found] == [run.path]


def test_the_runs_of_verify_are_found_only_where_their_folder_is_named(tmp_path: Path) -> None:
    own = make_run(tmp_path)
    verify([], outputs=tmp_path / "verify", processes=1, told=lambda verdict: None)
    checked = make_run(tmp_path / "verify")

    def found(folder: Path) -> list[Path]:
        return [entry.path for entry in find([folder])]

    assert found(tmp_path) == [own.path]
    assert found(tmp_path / "verify") == found(tmp_path / "verify" / "parabola") == [checked.path]
    assert resolve("last", tmp_path).path == own.path
    assert resolve("last", tmp_path / "verify").path == checked.path
    assert completions(tmp_path, "2026") == [own.path.name]


def test_a_sweep_accounts_for_every_job(tmp_path: Path) -> None:
    make_sweep(tmp_path, {"seed": range(6)}, failed=[1], diverged=[2], pending=[4, 5])

    (entry,) = find([tmp_path])

    assert isinstance(entry, SweepEntry)
    assert entry.counts() == {"completed": 2, "failed": 1, "diverged": 1, "pending": 2}
    assert all(isinstance(run, RunEntry) for run in entry.runs)


@pytest.mark.parametrize("slow", [0.0, 10.0])
def test_hundreds_of_runs_are_found_however_slow_the_disk_is(
    slow: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "_SLOW", slow)
    made = [make_run(tmp_path, rows=[], figure=False) for _ in range(220)]

    found = find([tmp_path])

    assert [entry.path for entry in found] == [run.path for run in reversed(made)]
    assert {entry.status for entry in found} == {"completed"}


def test_of_runs_that_began_in_one_second_the_later_one_is_the_newest(tmp_path: Path) -> None:
    for letters, instant in (("zzzzzz", "10:00:00.100"), ("aaaaaa", "10:00:00.900"), ("mmmmmm", "10:00:00.500")):
        make_run(tmp_path, name=f"20261101-100000-{letters}", started=f"2026-11-01T{instant}+00:00")

    newest_first = [untimed(entry.id) for entry in find([tmp_path])]

    assert newest_first == ["aaaaaa", "mmmmmm", "zzzzzz"]


def test_what_a_list_reads_of_run_json_means_what_it_means_there() -> None:
    whole = {field.name: field for field in fields(RunInfo)}

    for part in fields(ListedRun):
        known = whole[part.name]
        assert (part.type, part.default, part.default_factory) == (known.type, known.default, known.default_factory)
