"""Training within other programs: a Hydra application, threads, another directory, a terminal of few letters."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import shoal
from commands import trained
from faults.training import SMALL
from shoal.app.resume import resume
from shoal.cli import run as shoal_command
from shoal.errors import ShoalError
from shoal.loaded.run import Run
from shoal.loaded.sweep import Sweep
from shoal.rundir import Status, read_info

pytestmark = pytest.mark.usefixtures("undrawn")

WORDS = ["task=parabola", *SMALL]
TABLE = "größe,b,y\n" + "".join(f"{i % 7 + i / 90},{i % 5},{3 * i % 11}\n" for i in range(40))
OF_TABLE = ["task=csv", "task.path=t.csv", "task.target=y", "trainer.max_epochs=2", "callbacks=quiet"]


def own_program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run | Sweep:
    """A Hydra application that trains a run."""
    quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.output_subdir=null", "hydra.run.dir=outer"]
    monkeypatch.setattr(sys, "argv", ["program.py", *quiet])
    found = []

    @hydra.main(version_base=None, config_path=str(folder))
    def main(_: object) -> None:
        found.append(shoal.train([*WORDS, "hydra.run.dir=inner"]))
        assert HydraConfig.get().run.dir == "outer"

    main()
    return found[0]


def test_a_hydra_application_trains_a_run_and_keeps_its_own_configuration(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = own_program(workdir, monkeypatch)

    assert isinstance(run, Run)
    assert (run.status, run.path) == (Status.COMPLETED, Path("inner"))


def test_a_program_that_initialized_hydra_trains_sweeps_and_composes_on(workdir: Path) -> None:
    with hydra.initialize_config_dir(str(workdir), version_base=None):
        run = shoal.train(WORDS)
        sweep = shoal.sweep([*WORDS, "seed=0,1", "sweep.processes=0"])

        assert GlobalHydra.instance().is_initialized()
        assert hydra.compose(overrides=["+a=1"]).a == 1
    assert run.status is Status.COMPLETED
    assert [each.status for each in sweep.runs] == [Status.COMPLETED] * 2


def test_threads_train_the_runs_that_they_would_train_one_by_one(workdir: Path) -> None:
    def train(seed: int) -> None:
        shoal.train([*WORDS, f"seed={seed}", f"hydra.run.dir=together/{seed}"])

    threads = [threading.Thread(target=train, args=[seed]) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for seed in range(3):
        alone = shoal.train([*WORDS, f"seed={seed}", f"hydra.run.dir=alone/{seed}"])
        assert Path(f"together/{seed}/metrics.csv").read_text() == (alone.path / "metrics.csv").read_text()


def test_an_error_in_a_thread_is_raised_there_and_ends_no_other(workdir: Path) -> None:
    said = []

    def train(lr: str) -> None:
        try:
            said.append(str(shoal.train([*WORDS, f"optimizer.lr={lr}"]).status))
        except ShoalError as error:
            said.append(str(error))

    threads = [threading.Thread(target=train, args=[lr]) for lr in ("0.1", "-1", "0.2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(said) == ["completed", "completed", next(each for each in said if "greater than 0" in each)]


@pytest.mark.parametrize("engine", ["lightning", "vectorized"])
def test_a_run_that_works_in_its_own_directory_finds_its_files_and_goes_on(engine: str, workdir: Path) -> None:
    Path("t.csv").write_text(TABLE)
    words = [*OF_TABLE, f"engine={engine}"]
    shoal.train([*words, "trainer.max_epochs=3", "hydra.run.dir=usual"])

    run = shoal.train([*words, "hydra.job.chdir=true", "hydra.run.dir=own"])
    resume(Path("own"), ["trainer.max_epochs=3"])

    assert run.status is Status.COMPLETED
    assert Path.cwd() == workdir
    assert Path("own/metrics.csv").read_text() == Path("usual/metrics.csv").read_text()
    assert sorted(each.name for each in workdir.iterdir()) == ["own", "t.csv", "usual"]
    assert list(Path("own").glob("**/own")) == []


def test_hydras_launcher_finds_files_of_jobs_in_their_own_directories(workdir: Path) -> None:
    Path("t.csv").write_text(TABLE)

    ended = trained(
        "-m", *OF_TABLE, "seed=0,1", "hydra/launcher=basic", "hydra.job.chdir=true", "hydra.sweep.dir=sweep"
    )

    assert (ended.returncode, Path.cwd()) == (0, workdir)
    assert [read_info(path).status for path in sorted(Path("sweep").glob("*/run.json"))] == [Status.COMPLETED] * 2


@contextmanager
def ascii_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is printed meanwhile, on a standard output that takes ASCII only."""
    path, said = Path("terminal"), list[str]()
    with monkeypatch.context() as patch, io.TextIOWrapper(path.open("wb"), encoding="ascii", write_through=True) as out:
        patch.setattr(sys, "stdout", out)
        yield said
        sys.stdout.flush()
    said += path.read_text(encoding="ascii").splitlines()


def test_a_terminal_that_cannot_print_a_column_does_not_stop_a_run(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("t.csv").write_text(TABLE, encoding="utf-8")

    with ascii_terminal(monkeypatch) as said:
        monkeypatch.setattr(sys, "__stdout__", sys.stdout)  # it is the process's own
        code = shoal_command(["train", *OF_TABLE, "task.exclude=[b]"])

    assert code == 0
    assert "  gr\\xf6\\xdfe  feature  number" in said


def test_a_program_whose_output_is_its_own_sweeps_over_what_it_cannot_print(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("t.csv").write_text(TABLE, encoding="utf-8")

    with ascii_terminal(monkeypatch) as said:
        sweep = shoal.sweep([*OF_TABLE, "task.features=[größe],[b]", "sweep.processes=0"])

    assert [each.status for each in sweep.runs] == [Status.COMPLETED] * 2
    assert any("[gr\\xf6\\xdfe]" in line for line in said)


@pytest.mark.parametrize("words", [["predict", "run", "--input", "t.csv"], ["show", "run", "--json"]])
def test_what_a_program_will_read_is_printed_exactly_or_refused(
    words: list[str], workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("t.csv").write_text(TABLE.replace("y\n", "größen\n", 1), encoding="utf-8")
    shoal.train([*OF_TABLE, "task.target=größen", "hydra.run.dir=run"])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))

    code = shoal_command(words)

    problem, way_out = capsys.readouterr().err.splitlines()[-2:]
    assert code == 2
    assert problem == "error: standard output is ascii, which cannot hold 'öß'"
    assert "PYTHONIOENCODING=utf-8" in way_out
