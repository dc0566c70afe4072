"""Any Hydra program with `hydra/launcher=shoal`: the same files and values as with Hydra's own launcher."""

from __future__ import annotations

import gc
import gzip
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus

from foreign import files, swept
from shoal.dropin import hydra_launch, workers

CONFIG = """
seed: 0
ends: well
hydra: {sweep: {dir: swept, subdir: "${hydra:job.num}"}, job: {chdir: true, env_set: {OF_THE_JOB: "${hydra:job.num}"}}}
"""


def task(cfg: Any) -> float:
    if cfg.seed == 1:
        ENDINGS[cfg.ends]()
    with open("written", "a", encoding="utf-8") as file:
        file.write(f"{cfg.seed} {os.environ['OF_THE_JOB']} {HydraConfig.get().job.num}\n")
    return cfg.seed / 2


def _raises() -> None:
    raise ValueError("no")


ENDINGS = {
    "well": lambda: None,
    "raises": _raises,
    "exits": lambda: sys.exit(3),
    "vanishes": lambda: os._exit(0),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def test_jobs_leave_and_return_what_they_do_with_hydras_own_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    basic = swept(task, CONFIG, ["seed=range(3)"], monkeypatch, folder=tmp_path / "basic")

    found = swept(task, CONFIG, ["seed=range(3)", "hydra/launcher=shoal"], monkeypatch, folder=tmp_path / "shoal")

    assert [each.return_value for each in found] == [each.return_value for each in basic] == [0, 0.5, 1]
    assert [each.cfg for each in found] == [each.cfg for each in basic]
    assert [each.working_dir for each in found] == [each.working_dir for each in basic]
    mine, theirs = files(tmp_path / "shoal" / "swept"), files(tmp_path / "basic" / "swept")
    assert list(mine) == list(theirs)
    same = [name for name in mine if not name.endswith("overrides.yaml")]
    assert [mine[name] for name in same] == [theirs[name] for name in same]


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("raises", "ValueError: no"),
        ("exits", "FailedError: SystemExit: 3"),
        ("vanishes", "FailedError: its process ended with 0"),
        ("killed", "FailedError: its process was ended by SIGKILL"),
    ],
)
def test_a_job_that_dies_takes_no_other_along(
    ending: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["hydra/launcher=shoal", "hydra.launcher.processes=1", "seed=range(3)", f"ends={ending}"]

    found = swept(task, CONFIG, words, monkeypatch, folder=tmp_path)

    assert [each.status for each in found] == [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.COMPLETED]
    error = found[1]._return_value
    assert f"{type(error).__name__}: {error}" == told
    assert [(tmp_path / "swept" / str(n) / "written").read_text() for n in (0, 2)] == ["0 0 0\n", "2 2 2\n"]


def looks_for_garbage(cfg: Any) -> int:
    return gc.get_threshold()[0]


@pytest.mark.parametrize(("own", "expected"), [(700, 20_000), (50_000, 50_000), (0, 0)])
def test_a_worker_looks_for_garbage_seldom_or_never_as_its_program_does(
    own: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = gc.get_threshold()
    gc.set_threshold(own)

    [found] = swept(looks_for_garbage, CONFIG, ["hydra/launcher=shoal"], monkeypatch, folder=tmp_path)
    gc.set_threshold(*before)

    assert found.return_value == expected


@pytest.mark.parametrize(
    ("earlier", "stacks", "own", "expected"),
    [
        ("never", "auto", None, "AUTO"),
        ("never", "never", None, "None"),
        ("auto", "never", None, "None"),
        ("auto", "never", "AVX2", "AVX2"),
    ],
)
def test_jobs_that_are_not_to_stack_compute_as_without_shoal(
    earlier: str, stacks: str, own: str | None, expected: str
) -> None:
    launcher = f"""
import os
from types import SimpleNamespace
from hydra_plugins.shoal_stacks import StacksLauncher
for stacks in ("{earlier}", "{stacks}"):
    StacksLauncher(stacks=stacks).setup(
        hydra_context=SimpleNamespace(config_loader=None), task_function=None, config=None
    )
print(os.environ.get("MKL_CBWR"))
"""
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    environment |= {"MKL_CBWR": own} if own else {}

    done = subprocess.run([sys.executable, "-c", launcher], env=environment, check=True, capture_output=True, text=True)

    assert done.stdout.strip() == expected


def leaves_open(cfg: Any) -> None:
    logging.getLogger("kept").addHandler(MemoryHandler(99, target=logging.FileHandler("logged")))
    logging.getLogger("kept").warning("a record")
    KEPT.extend([open("plain", "w"), gzip.open("packed", "wt")])  # noqa: SIM115
    for file in KEPT:
        file.write("a line")


KEPT: list[Any] = []


def test_what_a_job_leaves_unwritten_is_written_when_its_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept(leaves_open, CONFIG, ["hydra/launcher=shoal"], monkeypatch, folder=tmp_path)

    job = tmp_path / "swept" / "0"
    assert (job / "plain").read_text() == "a line"
    assert gzip.decompress((job / "packed").read_bytes()) == b"a line"
    assert (job / "logged").read_text() == "a record\n"


def test_a_process_that_dies_as_a_job_begins_takes_none_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begins, killed = hydra_launch._Listener.begins, list[Any]()

    def killing(self: Any, job: Any, path: Path) -> None:
        begins(self, job, path)
        if not killed:
            killed.extend(multiprocessing.active_children())
            for each in killed:
                each.kill()
                each.join()

    monkeypatch.setattr(hydra_launch._Listener, "begins", killing)
    words = ["hydra/launcher=shoal", "hydra.launcher.processes=1", "seed=range(3)"]

    found = swept(task, CONFIG, words, monkeypatch, folder=tmp_path)

    assert killed
    assert [each.return_value for each in found] == [0, 0.5, 1]


@pytest.mark.parametrize("makes_folder", [True, False], ids=["hydras_sweeper", "a_sweeper_that_makes_no_folder"])
def test_the_same_command_goes_on_with_a_sweep_that_was_killed(
    makes_folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["hydra/launcher=shoal", "seed=range(4)", "hydra.sweep.dir=swept/${now:%f}"]
    with monkeypatch.context() as patch:
        patch.setattr(workers, "run", _killed_after_one)
        with pytest.raises(KeyboardInterrupt):
            swept(task, CONFIG, words, monkeypatch, folder=tmp_path)
    genuine = hydra_launch.launch

    def launched(program: Any, *rest: Any) -> Any:
        if not makes_folder:
            shutil.rmtree(program.sweep_dir)
        return genuine(program, *rest)

    monkeypatch.setattr(hydra_launch, "launch", launched)
    found = swept(task, CONFIG, words, monkeypatch, folder=tmp_path)

    assert [each.return_value for each in found] == [0, 0.5, 1, 1.5]
    written = [path.read_text() for path in sorted(tmp_path.glob("swept/*/*/written"))]
    assert written == [f"{n} {n} {n}\n" for n in range(4)]
    assert len(list((tmp_path / "swept").iterdir())) == 1


def test_another_sweep_of_the_same_process_runs_all_of_its_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["hydra/launcher=shoal", "hydra.launcher.processes=0", "seed=range(2)", "hydra.sweep.dir=swept/${now:%f}"]
    swept(task, CONFIG, words, monkeypatch, folder=tmp_path)

    found = swept(lambda cfg: task(cfg) + 1, CONFIG, words, monkeypatch, folder=tmp_path)

    assert [each.return_value for each in found] == [1, 1.5]
    assert len(list(tmp_path.glob("swept/*/*/written"))) == 4


def _killed_after_one(blocks: Any, work: Any, listener: Any, **_: Any) -> None:
    """The first job ends; the second has written something when the launcher is killed."""
    first, second = [job for block in blocks for job in block][:2]
    work([first], listener)
    begins = listener.begins

    def half(job: Any, path: Path) -> None:
        begins(job, path)
        path.mkdir()
        (path / "written").write_text("half")
        raise KeyboardInterrupt

    listener.begins = half
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shoal.dropin.one_process.failed", lambda job, error: _again(error))
        work([second], listener)


def _again(error: BaseException) -> Any:
    raise error
