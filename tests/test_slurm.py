"""On a cluster with SLURM: Lightning takes it for its launcher only where srun started the process."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy

import shoal
from commands import trained
from shoal.build import trainer as checks
from shoal.engines import launching, lightning, srun
from shoal.rundir import RunDir, read_info

pytestmark = pytest.mark.usefixtures("undrawn", "login_node")

SRC = Path(__file__).parent.parent / "src"
ALLOCATION = {"SLURM_JOB_ID": "4711", "SLURM_NNODES": "2", "SLURM_NTASKS": "4", "SLURM_NODELIST": "node[1-2]"}
FIRST_TASK = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
SURROUNDINGS = {
    "a login node": {},
    "an allocation whose shell runs on the login node": ALLOCATION | {"SLURM_JOB_NAME": "bash"},
    "an allocation whose shell is a step of its own": ALLOCATION
    | FIRST_TASK
    | {"SLURM_JOB_NAME": "interactive", "SLURM_STEP_ID": "4294967290"},
    "a named allocation whose shell is a step of its own": ALLOCATION
    | FIRST_TASK
    | {"SLURM_JOB_NAME": "mine", "SLURM_STEP_ID": "4294967290"},
    "a shell that srun started": ALLOCATION | FIRST_TASK | {"SLURM_JOB_NAME": "bash", "SLURM_STEP_ID": "0"},
    "a batch script": ALLOCATION | FIRST_TASK | {"SLURM_JOB_NAME": "train"},
    "a batch script that SLURM counts as a step": ALLOCATION
    | FIRST_TASK
    | {"SLURM_JOB_NAME": "train", "SLURM_STEP_ID": "4294967291"},
}
"""Where no srun started the process, and what SLURM puts into the environment there."""
STEP = FIRST_TASK | {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "train",
    "SLURM_STEP_ID": "0",
    "SLURM_NNODES": "1",
    "SLURM_NODELIST": "localhost",
    "MASTER_ADDR": "127.0.0.1",
}
"""What the first process that an srun starts on one node is told, beside the number of processes."""
ONE_EPOCH = ["task.n_samples=50", "task.batch_size=8", "model.hidden=[6]", "trainer.max_epochs=1", "callbacks=quiet"]


@pytest.fixture
def login_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `srun` on the PATH, no job, and nothing remembered of other surroundings."""
    stub = tmp_path / "bin" / "srun"
    stub.parent.mkdir()
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(checks, "_ACCEPTED", {})


def surrounded(by: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in by.items():
        monkeypatch.setenv(name, value)


def step_of(n: int) -> dict[str, str]:
    return STEP | {"SLURM_NTASKS": str(n), "SLURM_NTASKS_PER_NODE": str(n)}


def final(run: shoal.Run) -> Mapping[str, float]:
    return read_info(RunDir(run.path).info).final


def started_by(trainer: Any) -> type:
    return type(trainer._accelerator_connector.cluster_environment)


@pytest.mark.parametrize("engine", ["lightning", "vectorized"])
@pytest.mark.parametrize("where", SURROUNDINGS)
def test_without_srun_a_run_trains_and_is_evaluated_and_nothing_warns(
    where: str, engine: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surrounded(SURROUNDINGS[where], monkeypatch)

    run = shoal.train([*ONE_EPOCH, f"engine={engine}"])

    assert run.status == "completed"
    assert "srun" not in (run.path / "train.log").read_text()
    assert run.evaluate()["val/loss"] == pytest.approx(final(run)["val/loss"])
    assert started_by(lightning.build_trainer({"accelerator": "cpu"})) is LightningEnvironment


def test_without_srun_several_devices_are_told_what_starts_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    surrounded(SURROUNDINGS["a batch script"], monkeypatch)
    trainer = lightning.build_trainer({"accelerator": "cpu", "devices": 2, "strategy": "ddp"})

    with caplog.at_level("INFO", logger="shoal"):
        launching.log_starter(trainer)

    assert started_by(trainer) is LightningEnvironment
    assert "srun --nodes=1 --ntasks-per-node=2 python train.py ..." in caplog.text


def test_without_srun_several_nodes_are_refused_with_the_way_to_start_them(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surrounded(SURROUNDINGS["a batch script"], monkeypatch)

    ended = trained(*ONE_EPOCH, "trainer.num_nodes=2")

    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "error: trainer.num_nodes=2 (command line): needs processes on each node, and no srun started this one",
        "  in the batch script: srun --nodes=2 --ntasks-per-node=1 python train.py ...",
    ]


@pytest.mark.parametrize("by", [{"NODE_RANK": "0"}, {"MASTER_ADDR": "node1"}])
def test_several_nodes_of_a_job_started_by_hand_are_left_to_the_user(
    by: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    surrounded(SURROUNDINGS["a batch script"] | dict(by), monkeypatch)
    settings = {"accelerator": "cpu", "num_nodes": 2}

    trainer = lightning.build_trainer(settings)
    launching.check_processes(settings, trainer)

    assert trainer.world_size == 2


@pytest.mark.parametrize("names", [{"plugins": SLURMEnvironment}, {"strategy": SLURMEnvironment}])
@pytest.mark.filterwarnings("ignore:The `srun` command is available")
def test_what_the_user_names_starts_the_processes(names: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    surrounded(SURROUNDINGS["a batch script"] | {"SLURM_NTASKS_PER_NODE": "2", "MASTER_ADDR": "node1"}, monkeypatch)
    named = SLURMEnvironment()
    given = {"plugins": named} if "plugins" in names else {"strategy": DDPStrategy(cluster_environment=named)}

    trainer = lightning.build_trainer({"accelerator": "cpu", "devices": 2, **given})

    assert trainer._accelerator_connector.cluster_environment is named


def test_with_srun_slurm_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    surrounded(step_of(2) | {"SLURM_PROCID": "1", "SLURM_LOCALID": "1"}, monkeypatch)

    trainer = lightning.build_trainer({"accelerator": "cpu", "devices": 2, "strategy": "ddp"})

    assert started_by(trainer) is SLURMEnvironment
    assert (trainer.world_size, trainer.global_rank) == (2, 1)


def test_with_srun_a_stack_is_trained_by_the_one_process_that_it_needs(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = shoal.train([*ONE_EPOCH, "engine=vectorized"])
    surrounded(step_of(1), monkeypatch)

    run = shoal.train([*ONE_EPOCH, "engine=vectorized"])

    assert final(run) == final(alone)


@pytest.mark.parametrize("n", [1, 3])
def test_with_srun_as_many_processes_as_devices_are_wanted(
    n: int, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surrounded(STEP | {"SLURM_NTASKS": str(n), "SLURM_NTASKS_PER_NODE": "2"}, monkeypatch)

    ended = trained(*ONE_EPOCH, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")

    assert ended.returncode == 2
    problem = f"srun started {n} of the 2 processes: one for each device of each node"
    assert ended.stderr.splitlines() == [
        f"error: trainer.devices=2 (command line): {problem}",
        "  start it as: srun --nodes=1 --ntasks-per-node=2 python train.py ...",
    ]


def test_what_lightning_says_of_tasks_is_said_in_three_lines(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    surrounded(STEP | {"SLURM_NTASKS": "2"}, monkeypatch)

    ended = trained(*ONE_EPOCH)

    assert ended.returncode == 2
    assert "--ntasks-per-node=2" in ended.stderr
    assert len(ended.stderr.splitlines()) <= 3


def test_with_srun_a_sweep_in_each_of_several_processes_is_refused(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surrounded(step_of(4), monkeypatch)

    ended = trained("-m", *ONE_EPOCH, "seed=0,1")

    assert ended.returncode == 2
    assert ended.stderr.startswith("error: srun started 4 processes, and each of them would train this whole sweep")
    assert not (workdir / "outputs").exists()


def test_with_srun_two_processes_train_one_run_with_one_directory(workdir: Path) -> None:
    command = [sys.executable, "-m", "shoal.cli", "train", *ONE_EPOCH, "trainer=ddp", "trainer.accelerator=cpu"]
    port = {"MASTER_PORT": str(20000 + os.getpid() % 20000)}
    processes = [
        subprocess.Popen(
            [*command, "trainer.devices=2"],
            env=os.environ | step_of(2) | port | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]

    said = [process.communicate(timeout=120)[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0], said
    assert [len(list(workdir.glob("outputs/parabola/*"))), "completed" in said[0], said[1]] == [1, True, ""]


def test_a_checkpoint_that_lightning_looks_for_under_slurm_is_left_alone(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"another": "program's"}, workdir / "hpc_ckpt_1.ckpt")
    surrounded(step_of(1), monkeypatch)

    run = shoal.train([*ONE_EPOCH, "engine=lightning"])

    assert run.status == "completed"


def test_every_trainer_is_made_in_one_place() -> None:
    made = {
        path.relative_to(SRC).as_posix()
        for path in SRC.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for each in (node.bases if isinstance(node, ast.ClassDef) else [getattr(node, "func", None)])
        if getattr(each, "attr", getattr(each, "id", None)) == "Trainer"
    }

    # The second one trains nothing: what gives a user's samples asks it how a training would go.
    assert made == {"shoal/engines/launching.py", "shoal/tasks/asked_trainer.py"}


def test_who_started_a_process_is_known_without_torch() -> None:
    program = "import sys, shoal.engines.srun; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert srun.n_processes() == 1
