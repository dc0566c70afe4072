"""A run of a sweep that somebody has gone on with by itself, under other settings than the sweep's."""

from __future__ import annotations

from pathlib import Path

import pytest

import shoal
from shoal.app.resume import resume
from shoal.app.train import go_on
from shoal.errors import ShoalError, UsageError
from shoal.rundir import Status, read_info
from shoal.signals import Interrupted
from stops import Stops

pytestmark = pytest.mark.usefixtures("undrawn")

WORDS = ["task.n_samples=50", "task.batch_size=8", "trainer.max_epochs=4", "callbacks=quiet", "engine=lightning"]


def test_a_run_that_went_on_under_other_settings_is_left_as_it_is(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops, change = Stops(monkeypatch), "callbacks.checkpoint.monitor=train/loss"
    stops.before(7)
    with pytest.raises(ShoalError, match="interrupted"):
        shoal.sweep([*WORDS, "seed=0,1", "sweep.processes=0", "hydra.sweep.dir=sweep"])
    stops.before(12)
    with pytest.raises(Interrupted):
        resume(Path("sweep/0000"), [change])
    stops.before(None)

    with pytest.raises(UsageError, match=f"sweep/0000 has gone on by itself with {change}"):
        go_on(Path("sweep"))
    resume(Path("sweep/0000"))
    go_on(Path("sweep"))

    infos = [read_info(path) for path in sorted(Path("sweep").glob("*/run.json"))]
    assert [info.status for info in infos] == [Status.COMPLETED] * 2
    assert [info.best and info.best.metric for info in infos] == ["train/loss", "val/loss"]
