"""A search with Optuna goes on where it stopped or was killed, and nothing of it is lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from commands import typed
from faults import ended, forked
from searches import FOLDER, LR, points, refused, searched, trials
from shoal.app.search.studies import begun, opened
from shoal.app.train import go_on
from shoal.errors import ShoalError
from shoal.rundir import Status, SweepInfo, read_info, read_sweep, write_sweep

pytestmark = pytest.mark.usefixtures("undrawn")

KILLED = [LR, "sweep.n_trials=4", "sweep.batch=2", "callbacks.checkpoint.every_seconds=0"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The trials of the search below, left in peace."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "sweep"
    code, *_ = searched(*KILLED, f"hydra.sweep.dir={folder}")
    assert code == 0
    return points(trials(str(folder)))


def killed(install: Callable[[Callable[[], None]], None]) -> None:
    """Search in another process, which kills itself where `install` says."""

    def work() -> int:
        install(lambda: os.kill(os.getpid(), signal.SIGKILL))
        return searched(*KILLED)[0]

    assert ended(forked(work)) == -signal.SIGKILL


def at_write(n: int, half: bool) -> Callable[[Callable[[], None]], None]:
    """Die at the journal's write number `n`: before it, or with half a line written and the journal's lock held."""

    def install(die: Callable[[], None]) -> None:
        count, write = [0], JournalFileBackend.append_logs

        def counted(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
            count[0] += 1
            if count[0] == n:
                if half:
                    with open(self._file_path, "ab") as file:
                        file.write(json.dumps(logs[0]).encode()[:-7])
                die()
            write(self, logs)

        JournalFileBackend.append_logs = counted  # type: ignore[method-assign]

    return install


def at_call(name: str, when: str) -> Callable[[Callable[[], None]], None]:
    """Die before or after the first call of a step of the search."""

    def install(die: Callable[[], None]) -> None:
        from shoal.app.search import searching

        step = getattr(searching.Search, name)

        def patched(*args: Any) -> Any:
            if when == "before":
                die()
            step(*args)
            return die()

        setattr(searching.Search, name, patched)

    return install


@pytest.mark.parametrize(
    "install",
    [
        pytest.param(at_write(4, half=True), id="a trial asked for in part and half a line of it written"),
        pytest.param(at_call("_launched", "before"), id="between ask and launch"),
        pytest.param(at_call("_launched", "after"), id="between launch and tell"),
        pytest.param(at_write(9, half=False), id="one of two told"),
        pytest.param(at_call("_told", "after"), id="between two batches"),
    ],
)
def test_a_search_that_is_killed_goes_on_and_comes_to_the_same_trials(
    install: Callable[[Callable[[], None]], None], workdir: Path, uninterrupted: list[Any]
) -> None:
    killed(install)
    before = {path: read_info(path) for path in Path("sweep").glob("*/run.json")}
    done = {path: run for path, run in before.items() if run.status is Status.COMPLETED}

    if FOLDER.info.exists():
        assert go_on(FOLDER.path).tell() == 0
    else:
        assert searched(*KILLED)[0] == 0

    assert points(trials()) == uninterrupted
    assert {path: (run.sessions, run.ended) for path, run in done.items()} == {
        path: (1, read_info(path).ended) for path in done
    }
    assert [job.status for job in read_sweep(FOLDER.info).jobs] == [Status.COMPLETED] * 4
    assert read_sweep(FOLDER.info).status is Status.COMPLETED


def test_a_finished_search_has_nothing_to_do_and_resume_takes_more_trials(workdir: Path) -> None:
    searched(LR, "sweep.n_trials=2")
    first = [read_info(path).ended for path in sorted(Path("sweep").glob("*/run.json"))]

    more = go_on(FOLDER.path, ["sweep.n_trials=3"]).tell()
    nothing = go_on(FOLDER.path).tell()
    _, page = typed("shoal show sweep")

    assert (more, nothing) == (0, 0)
    assert "3 trials by tpe: minimize val/loss" in page
    assert [trial.state.name for trial in trials()] == ["COMPLETE"] * 3
    assert [read_info(path).ended for path in sorted(Path("sweep").glob("*/run.json"))][:2] == first
    assert "optimizer.lr: 0.0001 to 0.1, log -> 0.0001 to 0.1" in refused(
        "optimizer.lr=interval(1e-4,1e-1)", "sweep.n_trials=4"
    )
    with pytest.raises(ShoalError, match="stay as they are"):
        go_on(FOLDER.path, ["optimizer=sgd"])


@pytest.mark.usefixtures("workdir")
def test_a_study_in_a_database_is_gone_on_with_and_belongs_to_one_sweep() -> None:
    asked = {"objectives": {"val/loss": "minimize"}, "space": {"optimizer.lr": "0 to 1"}}
    FOLDER.path.mkdir()
    write_sweep(FOLDER.info, SweepInfo(id="sweep", task="parabola", status=Status.COMPLETED))

    with opened("sqlite:///study.db", FOLDER) as storage:
        begun(storage, "sweep", asked, FOLDER.path).add_trial(optuna.create_trial(value=1.0))
    with opened("sqlite:///study.db", FOLDER) as storage:
        again = begun(storage, "sweep", asked, FOLDER.path)

        assert [trial.value for trial in again.trials] == [1.0]
        with pytest.raises(ShoalError, match="belongs to the sweep"):
            begun(storage, "sweep", asked, Path("other"))
        with pytest.raises(ShoalError, match="val/loss: minimize -> maximize"):
            begun(storage, "sweep", {**asked, "objectives": {"val/loss": "maximize"}}, FOLDER.path)
