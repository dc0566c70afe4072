"""Removing runs: what was asked for and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runs import make_run, make_sweep
from shoal.errors import UsageError
from shoal.review.catalog import find
from shoal.review.entries import RunEntry, runs
from shoal.review.removal import Removal, removals, worst
from shoal.rundir import Status, claim, read_info, verify
from terminal import run_in_pipes, run_in_terminal


def left(root: Path) -> set[str]:
    return {run.path.name for run in runs(find([root]))}


def test_a_dry_run_removes_nothing(tmp_path: Path) -> None:
    make_run(tmp_path / "outputs", name="a-run")

    done = run_in_pipes(["rm", "a-run", "--dry-run"], tmp_path)

    assert done.stdout.splitlines()[-1].startswith("would remove 1 folder, ")
    assert left(tmp_path) == {"a-run"}


@pytest.mark.parametrize(
    ("answer", "names"), [("y\n", {"b-run"}), ("n\n", {"a-run", "b-run"}), ("\n", {"a-run", "b-run"})]
)
def test_removing_asks_first(answer: str, names: set[str], tmp_path: Path) -> None:
    make_run(tmp_path / "outputs", name="a-run")
    make_run(tmp_path / "outputs", name="b-run")

    screen = run_in_terminal(["rm", "a-run"], width=80, folder=tmp_path, answer=answer)

    assert "remove 1 folder" in screen.text
    assert screen.exit_code == 0
    assert left(tmp_path) == names


def test_nothing_is_removed_where_nobody_can_be_asked(tmp_path: Path) -> None:
    make_run(tmp_path / "outputs", name="a-run")

    done = run_in_pipes(["rm", "a-run"], tmp_path)

    assert done.returncode == 2
    assert left(tmp_path) == {"a-run"}


def test_a_run_outside_the_root_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "outputs", name="a-run")
    outside = make_run(tmp_path / "elsewhere", name="b-run")

    done = run_in_pipes(["rm", str(outside.path), "--yes"], tmp_path)

    assert done.returncode == 2
    assert "is not inside" in done.stderr
    assert left(tmp_path) == {"a-run", "b-run"}


def test_a_path_that_leaves_the_root_through_a_link_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "outputs"
    outside = make_run(tmp_path / "elsewhere", name="b-run")
    make_run(root, name="a-run")
    (root / "linked").symlink_to(outside.path)
    (root / "task").symlink_to(outside.path.parent)

    for path in (root / "linked", root / "task" / "b-run"):
        with pytest.raises(UsageError, match="is not inside"):
            Removal(RunEntry(path, read_info(outside.info)), root).carry_out()

    assert outside.info.exists()


def test_a_link_to_a_run_inside_the_root_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, name="a-run")
    (tmp_path / "parabola" / "linked").symlink_to(run.path)

    with pytest.raises(UsageError, match="is a link"):
        Removal(RunEntry(tmp_path / "parabola" / "linked", read_info(run.info)), tmp_path).carry_out()

    assert run.info.exists()


def test_links_inside_a_run_are_removed_and_what_they_point_to_stays(tmp_path: Path) -> None:
    run = make_run(tmp_path / "outputs", name="a-run")
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").write_text("gold")
    (run.path / "linked").symlink_to(treasure)

    done = run_in_pipes(["rm", "a-run", "--yes"], tmp_path)

    assert done.returncode == 0
    assert not run.path.exists()
    assert (treasure / "gold").read_text() == "gold"


def test_checkpoints_behind_a_link_stay(tmp_path: Path) -> None:
    run = make_run(tmp_path / "outputs", name="a-run")
    elsewhere = tmp_path / "elsewhere"
    run.checkpoints.rename(elsewhere)
    run.checkpoints.symlink_to(elsewhere)

    done = run_in_pipes(["rm", "a-run", "--checkpoints", "--yes"], tmp_path)

    assert "nothing to remove" in done.stdout
    assert (elsewhere / "last.ckpt").exists()


def test_a_run_in_use_is_refused_and_the_others_go(tmp_path: Path) -> None:
    used = make_run(tmp_path / "outputs", name="a-run")
    make_run(tmp_path / "outputs", name="b-run")

    with claim(used):
        done = run_in_pipes(["rm", "a-run", "b-run", "--yes"], tmp_path)

    assert done.returncode == 2
    assert "is in use by" in done.stderr
    assert left(tmp_path) == {"a-run"}


def test_a_run_of_a_sweep_that_is_being_trained_is_refused(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "outputs", {"seed": [0, 1]})

    with claim(sweep):
        done = run_in_pipes(["rm", str(sweep.path / "0000"), "--yes"], tmp_path)

    assert done.returncode == 2
    assert left(tmp_path) == {"0000", "0001"}


def test_a_run_whose_process_lives_is_refused_without_its_lock_too(tmp_path: Path) -> None:
    import platform

    make_run(tmp_path / "outputs", name="a-run", status=Status.RUNNING, pid=os.getpid(), host=platform.node())

    done = run_in_pipes(["rm", "a-run", "--yes"], tmp_path)

    assert f"in use by pid {os.getpid()}" in done.stderr
    assert left(tmp_path) == {"a-run"}


def test_a_sweep_is_removed_with_its_runs_and_without_a_trace(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "outputs", {"seed": [0, 1]})

    done = run_in_pipes(["rm", sweep.path.name, "--yes"], tmp_path)

    assert done.stdout.splitlines()[-1] == "removed 1 folder"
    assert list((tmp_path / "outputs" / "parabola").iterdir()) == []


def test_another_programs_run_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "2026-11-02" / "10-00-00"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text("lr: 1\n")

    done = run_in_pipes(["rm", str(folder), "--yes"], tmp_path)

    assert "another program's run" in done.stderr
    assert folder.exists()


def test_dropped_checkpoints_do_not_look_like_damage(tmp_path: Path) -> None:
    run = make_run(tmp_path / "outputs", name="a-run")

    done = run_in_pipes(["prune", "--where", "epochs > 1", "--checkpoints", "--yes"], tmp_path)

    info = read_info(run.info)
    assert done.returncode == 0, done.stderr
    assert not run.last.exists()
    assert not run.best.exists()
    assert verify(run.path, info.artifacts) == {}
    assert run.history.exists()


def test_the_best_of_each_task_are_kept(tmp_path: Path) -> None:
    for task in ("parabola", "sin_x2"):
        for loss in (0.3, 0.1, 0.2):
            make_run(tmp_path, name=f"{task}-{loss}", task=task, final={"val/loss": loss}, best=None)
    make_run(tmp_path, name="stopped", status=Status.INTERRUPTED, final={"val/loss": 9.0}, best=None)

    doomed = worst(runs(find([tmp_path])), keep=1, metric=None)

    assert sorted(run.id for run in doomed) == ["parabola-0.2", "parabola-0.3", "sin_x2-0.2", "sin_x2-0.3"]


def test_pruning_failed_runs_leaves_all_others(tmp_path: Path) -> None:
    for status in Status:
        make_run(tmp_path / "outputs", name=f"{status}-run", status=status)

    done = run_in_pipes(["prune", "--failed", "--yes"], tmp_path)

    assert done.stdout.splitlines()[-1] == "removed 2 folders"
    assert left(tmp_path) == {"completed-run", "interrupted-run", "running-run"}


def test_removals_are_all_checked_before_the_first_is_carried_out(tmp_path: Path) -> None:
    root = tmp_path / "outputs"
    inside, outside = make_run(root, name="a-run"), make_run(tmp_path / "elsewhere", name="b-run")

    with pytest.raises(UsageError, match="is not inside"):
        removals([RunEntry(run.path, read_info(run.info)) for run in (inside, outside)], root)

    assert inside.info.exists()
