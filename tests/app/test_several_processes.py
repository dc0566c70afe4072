"""Training in several processes: one run alone can; what is measured is measured of each sample once."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import own_modules
import shoal
from commands import trained
from own_runs import SAMPLES, write_task
from shoal.app.start import start
from shoal.engines import launching
from shoal.engines.begun_processes import BegunProcesses
from shoal.engines.lightning import build_trainer
from shoal.engines.loaders import n_counted_twice
from shoal.engines.shares import shared
from shoal.errors import ConfigError
from shoal.loaded.run import Run
from shoal.rundir import read_info

pytestmark = pytest.mark.usefixtures("undrawn")

WORDS = ["task.n_samples=43", "task.batch_size=4", "task.val_batch_size=5", "model.hidden=[3]", "callbacks=quiet"]
"""9 validation samples, which two processes cannot share equally."""
TWO = {
    "trainer=ddp trainer.accelerator=cpu": "trainer.devices=2",
    "trainer.devices=2": "trainer.devices=2",
    "trainer.strategy=ddp_spawn": "trainer.strategy=ddp_spawn",
    "trainer.num_nodes=2": "trainer.num_nodes=2",
    "trainer.strategy=ddp_fork trainer.devices=2": "trainer.strategy=ddp_fork",
}


def test_a_run_goes_on_in_two_processes_and_counts_each_sample_once(workdir: Path) -> None:
    run, _ = start([*WORDS, "trainer.max_epochs=1", "hydra.run.dir=run"])
    words = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=2"]
    port = {"MASTER_PORT": str(20000 + os.getpid() % 20000)}

    ended = subprocess.run(
        [sys.executable, "-m", "shoal.cli", "resume", "run", *words],
        env=os.environ | port,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )

    info = read_info(run.info)
    assert (ended.returncode, info.epochs, info.steps) == (0, 2, 9 + 5), ended.stderr
    assert (ended.stdout.count("completed"), ended.stderr.count("changed  trainer.devices")) == (1, 1)
    measured = Run("run").evaluate("last")
    assert measured["val/loss"] == info.final["val/loss"]


@pytest.mark.parametrize(("words", "launcher"), [*((words, "shoal") for words in TWO), ("trainer.devices=2", "basic")])
def test_a_job_of_a_sweep_that_would_train_in_several_processes_is_refused(
    words: str, launcher: str, workdir: Path
) -> None:
    ended = trained("-m", *WORDS, *words.split(), "seed=0,1", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep")

    assert (ended.returncode, list(Path("sweep").glob("*/run.json"))) == (2 if launcher == "shoal" else 1, [])
    assert f"{TWO[words]} (job 0" in ended.stderr
    assert len(ended.stderr.splitlines()) <= 3


def test_a_sweep_from_python_refuses_it_too(workdir: Path) -> None:
    with pytest.raises(ConfigError, match="trains in 2 processes, and a job of a sweep in one"):
        shoal.sweep([*WORDS, "trainer.devices=1,2", "trainer.strategy=ddp"])

    assert list(workdir.glob("**/run.json")) == []


@pytest.mark.parametrize(
    ("variables", "starter"),
    [
        ({"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2"}, "torchrun"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "mpirun"),
    ],
)
def test_a_sweep_in_each_of_several_processes_is_refused(
    variables: dict[str, str], starter: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    ended = trained("-m", *WORDS, "seed=0,1")

    assert ended.returncode == 2
    assert f"{starter} started 2 processes, and each of them would train this whole sweep" in ended.stderr


def test_a_program_that_cannot_be_begun_again_trains_in_no_other_process(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)

    with pytest.raises(ConfigError, match="begins the program again in each process, and this one is no file"):
        shoal.train([*WORDS, "trainer.devices=2", "trainer.strategy=ddp", "hydra.run.dir=run"])

    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("settings", "devices"),
    [
        ({"devices": 2, "strategy": "ddp"}, 1),
        ({"devices": "auto", "num_nodes": 2}, 1),
        ({"devices": 2, "strategy": "ddp_spawn"}, 1),
    ],
)
def test_what_trained_in_several_processes_is_measured_in_one(settings: dict[str, Any], devices: int) -> None:
    trainer = build_trainer(launching.in_one_process({"accelerator": "cpu", **settings}))

    assert (trainer.world_size, trainer.num_devices) == (1, devices)


def test_a_run_of_a_gpu_is_measured_where_there_is_none(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    run, info = start([*WORDS, "trainer.max_epochs=1", "hydra.run.dir=run"])
    run.config.write_text(run.config.read_text().replace("accelerator: cpu", "accelerator: gpu"))

    measured = Run("run").evaluate()

    assert measured["val/loss"] == info.final["val/loss"]
    assert "there is no GPU here: measured on the CPU" in capsys.readouterr().err


@pytest.mark.parametrize("n_processes", [2, 3, 7])
@pytest.mark.parametrize("size", [1, 2, 4, 5])
@pytest.mark.parametrize("n", [9, 10, 21, 29])
def test_processes_share_samples_in_equally_many_batches(n: int, size: int, n_processes: int) -> None:
    loader = DataLoader(TensorDataset(torch.arange(n)), batch_size=size)

    found = [shared(loader, rank=rank, n_processes=n_processes) for rank in range(n_processes)]

    taken = [[batch.tolist() for (batch,) in each] for each in found if each]
    assert len(taken) == (n_processes if n >= n_processes * taken_batches(n, size, n_processes) else 0)
    assert len({len(batches) for batches in taken}) <= 1
    assert [len(each) for each in found if each] == [len(batches) for batches in taken]
    assert all(1 <= len(batch) <= size for batches in taken for batch in batches)
    if taken:
        assert sorted(sample for batches in taken for batch in batches for sample in batch) == list(range(n))


def taken_batches(n: int, size: int, n_processes: int) -> int:
    """How many batches the largest share is."""
    return math.ceil(math.ceil(n / n_processes) / size)


def test_a_shuffled_loader_is_shared_in_one_order() -> None:
    loader = DataLoader(TensorDataset(torch.arange(9)), batch_size=2, shuffle=True)

    shares = [shared(loader, rank=rank, n_processes=2) for rank in range(2)]

    assert sorted(int(x) for each in shares if each for (batch,) in each for x in batch) == list(range(9))


@pytest.mark.parametrize(("n", "twice"), [(8, 0), (9, 1)])
def test_samples_that_lightning_counts_twice_are_known(n: int, twice: int) -> None:
    samples = TensorDataset(torch.zeros(n, 1))
    loader = DataLoader(samples, sampler=DistributedSampler(samples, num_replicas=2, rank=1))

    assert n_counted_twice({"one": [loader], "other": DataLoader(samples)}) == twice


@pytest.mark.parametrize(
    ("commands", "error", "says"),
    [
        (["exit 3"], RuntimeError("[gloo/pair.cc] Connection closed by peer"), "process 2 of 2 ended with exit code 3"),
        (["exit 0", "kill -9 $$"], torch.distributed.DistBackendError("NCCL"), "process 3 of 3 was ended by SIGKILL"),
        (["exit 0"], RuntimeError("gloo"), "gloo"),
        (["exit 3"], ValueError("of its own"), "of its own"),
    ],
)
def test_a_broken_connection_is_told_as_the_loss_of_a_process(
    commands: list[str], error: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = BegunProcesses(lambda _: None)
    trainer = build_trainer({"accelerator": "cpu", "devices": 2, "strategy": "ddp"})
    launcher: Any = trainer.strategy.launcher
    monkeypatch.setattr(launcher, "_call_children_scripts", lambda: None)
    launcher.procs = [subprocess.Popen(["sh", "-c", each]) for each in commands]

    with begun.watched(trainer):
        launcher.launch(lambda: None)
    cause = begun.cause(error)

    assert says in str(cause)
    assert all(process.wait() is not None for process in launcher.procs)  # none is left behind


@pytest.mark.long
def test_a_process_that_is_killed_leaves_a_failed_run_and_its_reason(workdir: Path) -> None:
    write_task("struck", "Struck", SAMPLES)
    words = ["task=struck", "trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=9", "hydra.run.dir=run"]
    port = {"MASTER_PORT": str(20000 + os.getpid() % 20000)}

    ended = subprocess.run(
        [sys.executable, "-m", "shoal.cli", "train", *words],
        env=os.environ | port | {"PYTHONPATH": str(Path(own_modules.__file__).parent)},
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )

    info = read_info(Path("run/run.json"))
    assert (ended.returncode, info.status) == (1, "failed"), ended.stderr
    assert info.reason == "process 2 of 2 was ended by SIGKILL, and this one cannot go on alone"
    assert f"error: {info.reason}" in ended.stderr
