"""Which run a person means."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs import make_run, make_sweep
from shoal.errors import UsageError
from shoal.review.entries import SweepEntry
from shoal.review.reference import completions, looked_into, resolve, resolve_run
from shoal.rundir import Best, RunDir, SweepDir


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def run(root: Path) -> RunDir:
    return make_run(root, name="20261101-100000-k3f9x2", final={"val/loss": 0.5}, best=None)


@pytest.fixture
def sweep(root: Path, run: RunDir) -> SweepDir:
    return make_sweep(root, {"optimizer.lr": [0.001, 0.01], "seed": [0, 1]})


@pytest.mark.parametrize(
    "reference", ["20261101-100000-k3f9x2", "20261101-10", "k3f9x2", "k3", "last", "best:val/loss"]
)
def test_a_run_is_meant_by_its_id_or_a_part_of_it(reference: str, root: Path, run: RunDir) -> None:
    assert resolve(reference, root).path == run.path


def test_a_run_is_meant_by_its_path_from_anywhere(root: Path, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.path)

    assert resolve(".", root).path == run.path
    assert resolve(str(run.path), Path("nowhere")).path == run.path
    assert resolve(f"{run.path}/", root).path == run.path


def test_a_run_inside_a_sweep_is_meant_by_its_job(root: Path, sweep: SweepDir) -> None:
    short = sweep.path.name.rsplit("-", 1)[-1]

    assert resolve(f"{short}/3", root).path == sweep.path / "0003"
    assert resolve(f"{short}/0003", root).path == sweep.path / "0003"
    assert resolve(f"{short}-0003", root).path == sweep.path / "0003"
    assert resolve(f"{short}/last", root).path == sweep.path / "0003"
    assert resolve(f"{short}/best", root).path.name in ("0002", "0003")


def test_a_folder_to_look_in_is_a_path_or_the_name_of_a_run_or_sweep(root: Path, sweep: SweepDir) -> None:
    assert looked_into(root, Path("nowhere")) == root
    assert looked_into(Path("last"), root) == sweep.path
    assert looked_into(Path("k3f9x2"), root).name == "20261101-100000-k3f9x2"
    assert looked_into(root / "nowhere", root) == root / "nowhere"
    with pytest.raises(UsageError, match="no run k3f9x3"):
        looked_into(Path("k3f9x3"), root)


def test_a_run_inside_the_last_sweep_is_meant_by_its_job(tmp_path: Path) -> None:
    last = make_sweep(tmp_path, {"seed": [0, 1]})

    assert resolve("last/1", tmp_path).path == last.path / "0001"
    assert resolve("last/best", tmp_path).path.parent == last.path


def test_the_beginning_of_a_sweeps_id_means_the_sweep_and_not_its_runs(root: Path, sweep: SweepDir) -> None:
    entry = resolve(sweep.path.name.rsplit("-", 1)[-1][:3], root)

    assert isinstance(entry, SweepEntry)
    assert entry.path == sweep.path


def test_best_goes_up_where_the_runs_say_so(root: Path) -> None:
    for name, value in (("low", 0.1), ("high", 0.9)):
        make_run(root, name=name, final={"val/skill": value}, best=Best("val/skill", "max", value, 1, 1))

    assert resolve("best:val/skill", root).id == "high"
    assert resolve("best", root).id == "high"


def test_best_passes_over_values_that_are_not_finite(root: Path) -> None:
    make_run(root, name="broken", final={"score": float("nan")}, best=None)
    make_run(root, name="endless", final={"score": float("inf")}, best=None)
    make_run(root, name="whole", final={"score": 1.0}, best=None)

    assert resolve("best:score", root).id == "whole"


def test_what_may_mean_several_runs_names_them(root: Path) -> None:
    make_run(root, name="20261101-100000-abc222")
    make_run(root, name="20261101-100001-abd333")

    with pytest.raises(UsageError, match="ab may mean 2 runs") as caught:
        resolve("ab", root)

    assert "20261101-100000-abc222" in str(caught.value.hint)


@pytest.mark.parametrize("reference", ["k3f9x3", "nonsense/3", "best:vall/loss", "/etc", "../x", "\x1b[31m"])
def test_what_means_no_run_is_an_error_of_three_lines_at_most(reference: str, root: Path, run: RunDir) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(reference, root)

    assert len(caught.value.text().splitlines()) <= 3
    assert "\x1b" not in caught.value.text()


def test_a_sweep_is_refused_where_one_run_is_wanted(root: Path, sweep: SweepDir) -> None:
    with pytest.raises(UsageError, match="is a sweep of 4 runs"):
        resolve_run(sweep.path.name, root)


def test_a_hydra_sweep_directory_and_its_jobs_are_meant_by_their_paths(tmp_path: Path) -> None:
    folder = tmp_path / "multirun" / "2026-11-02" / "10-00-00"
    for job in ("0", "1"):
        (folder / job / ".hydra").mkdir(parents=True)
        (folder / job / ".hydra" / "config.yaml").write_text(f"lr: {job}\n")
    (folder / "multirun.yaml").write_text("hydra: {}\n")

    sweep = resolve(str(folder), tmp_path / "outputs")

    assert isinstance(sweep, SweepEntry)
    assert [run.id for run in sweep.runs] == ["10-00-00/0", "10-00-00/1"]
    assert resolve(str(folder / "1"), tmp_path / "outputs").path == folder / "1"


def test_completion_offers_ids_by_either_end_and_reads_no_run(root: Path, run: RunDir, sweep: SweepDir) -> None:
    run.info.write_text("damaged")

    assert completions(root, "k3f") == ["k3f9x2"]
    assert completions(root, "2026")[-1] == "20261101-100000-k3f9x2"
    assert completions(root, "la") == ["last"]
    assert sweep.path.name in completions(root, "")
    assert completions(root / "nowhere", "k") == []
