"""The page about looking at runs: its commands, typed where there are a run and a sweep of the names it uses."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from checkout import ROOT
from commands import typed
from runs import make_run, make_sweep
from shoal.cli import train as main
from shoal.rundir import Status

DOCS = ROOT / "docs"
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", (DOCS / "review.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]
[JOBS] = re.findall(r"^## Which jobs$(.*?)^## ", (DOCS / "sweeps.md").read_text(), flags=re.DOTALL | re.MULTILINE)
WAYS = re.findall(r"^\| .* \| `(.*=.*)` \|$", JOBS, flags=re.MULTILINE)


def test_every_command_of_the_page_on_looking_at_runs_ends_well(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    class Served:
        """TensorBoard, begun and ended."""

        def __init__(self, words: list[str]) -> None:
            started.append(words)

        def wait(self) -> int:
            return 0

    monkeypatch.setattr("subprocess.Popen", Served)
    monkeypatch.setattr(sys, "argv", ["shoal"])
    sweep = make_sweep(Path("outputs"), {"optimizer.lr": [0.001, 0.01, 0.1], "seed": range(5)}, diverged=[14])
    run = make_run(Path("outputs"), status=Status.FAILED)
    last = make_run(Path("outputs"))
    for path in (last.path, sweep.path / "0000"):
        (path / "events.out.tfevents.1.host").write_bytes(b"")
    for line in COMMANDS:
        command = line.replace("20261122-101530-k3f9x2", sweep.path.name).replace("p8v", run.path.name)
        command = re.sub("k3f9x2|k3f", sweep.path.name.rpartition("-")[2], command)
        asks = " --dry-run" if command.startswith(("shoal prune", "shoal rm")) and "--dry-run" not in command else ""

        code, output = typed(command + asks)

        assert code == 0, f"{command}\n{output}"
    assert len(started) == sum(line.startswith("shoal board") for line in COMMANDS)
    assert Path("lr-study.html").stat().st_size > 10_000
    assert last.path.exists()


@pytest.mark.parametrize(("way", "n"), list(zip(WAYS, [16, 2, 2, 50], strict=True)))
def test_each_way_to_say_which_jobs_gives_those_jobs(
    way: str, n: int, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", way)]

    code = main(["-m", "task.n_samples=10", "task.batch_size=8", "model.hidden=[2]", *words, "sweep.dry_run=true"])

    assert code == 0
    assert f": {n} runs: " in "".join(capsys.readouterr())
