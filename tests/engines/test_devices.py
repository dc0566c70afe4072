"""Stacks that train on a device of their own: there is none for CI, so one is made up that computes by the CPU.

A tensor of that device and one in main memory can do nothing together. What a stack traced there is then followed by
tensors without numbers on a GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.accelerators import AcceleratorRegistry, CPUAccelerator

from driven import Kept, job
from shoal.app.multirun.devices import on_devices
from shoal.engines import lightning
from shoal.engines.launching import device_of, in_one_process
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.probing.rehearsal import rehearse
from shoal.engines.vectorized.running import Running
from shoal.engines.vectorized.size import FEWEST, MOST
from shoal.machine import PLACE
from shoal.names import TRAIN_LOSS
from shoal.sweeps.hosts import Processes
from shoal.sweeps.plan import Plan
from two_devices import KINDS, difference, stacked, write_code

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*")
SUPPORT = Path(__file__).parents[1] / "support"
SHORT = [
    "adam, dropout, norms clipped, averaged",
    "own objects together",
    "bfloat16, rmsprop",
    "code of a user",
    "losses of every kind",
]
"""Those that show most; the others are left to `make long`."""


def differences(kinds: list[str], folder: Path) -> Mapping[str, str | None]:
    """In what stacks of these kinds differ that were trained on the made-up device."""
    command = [sys.executable, str(SUPPORT / "trained_elsewhere.py"), *kinds]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(line) for line in ended.stdout.splitlines())


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str | None]:
    return differences(SHORT, tmp_path_factory.mktemp("elsewhere"))


@pytest.mark.parametrize("kind", ["mixing", *SHORT])
def test_a_stack_trains_to_the_bit_alike_on_another_device(short: Mapping[str, str | None], kind: str) -> None:
    assert short[kind] is None


@pytest.mark.long
def test_stacks_of_every_kind_train_alike_on_another_device(tmp_path: Path) -> None:
    found = differences([kind for kind in KINDS if kind not in SHORT], tmp_path)

    assert len(found) == len(KINDS) - len(SHORT) + 1
    assert found == dict.fromkeys(found)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_trains_alike_on_a_gpu(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_code()
    tolerance = 0.1 if "bfloat16" in kind else 1e-3

    found = difference(
        stacked(kind, "cpu"),
        stacked(kind, "gpu"),
        lambda one, other: torch.allclose(one.double(), other.double(), rtol=tolerance, atol=tolerance),
    )

    assert found is None


def mixed(seeds: range) -> tuple[Running, Kept]:
    running, kept = Running([Member.of(job(seed, precision="bf16-mixed")) for seed in seeds]), Kept()
    assert unlike_alone(running) == {}
    rehearse(running)
    driver.fit(running, kept)
    return running, kept


def test_runs_of_mixed_precision_share_a_stack_and_keep_their_bits() -> None:
    running, kept = mixed(range(5))

    for run in (0, 3):
        single, told = mixed(range(run, run + 1))
        assert kept.curve(run, TRAIN_LOSS) == told.curve(0, TRAIN_LOSS)
        for name, value in running.checkpoint(run)["state_dict"].items():
            assert value.dtype == torch.float32
            assert torch.equal(value, single.checkpoint(0)["state_dict"][name])


def test_a_run_of_mixed_precision_trains_in_a_stack_as_it_does_alone() -> None:
    both = job(1, precision="bf16-mixed")
    running, _ = mixed(range(1, 2))

    module = both.module()
    lightning.fit(both, module)

    for name, value in running.checkpoint(0)["state_dict"].items():
        assert torch.allclose(value, module.state_dict()[name], atol=0.02)
        assert not torch.equal(value, running.members[0].job.module().state_dict()[name])


class Two(CPUAccelerator):
    """Two devices that are not the CPU."""

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return [0] if devices == 1 else devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [torch.device("meta", number) for number in devices]

    @staticmethod
    def auto_device_count() -> int:
        return 2


@pytest.fixture
def two() -> Any:
    AcceleratorRegistry.register("two", Two)
    yield "two"
    AcceleratorRegistry.remove("two")


def test_each_worker_of_a_machine_has_a_device_of_its_own(two: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for place in ("0", "1", "2"):
        monkeypatch.setenv(PLACE, place)
        found.append(device_of({"accelerator": two}).index)

    assert found == [0, 1, 0]
    assert in_one_process({"accelerator": two, "devices": [0]})["devices"] == [0]
    assert in_one_process({"accelerator": "cpu", "devices": 1})["devices"] == 1


def test_of_a_device_of_its_own_the_cpus_cache_limits_no_stack(two: str) -> None:
    here, there = Plan(), Plan()

    here.add(0, job(0))
    there.add(0, job(0, accelerator=two))

    sizes = [plan.groups[0].footprint.most_within(cache=1 << 10, memory=1 << 40) for plan in (here, there)]
    assert sizes == [FEWEST, MOST]


@pytest.mark.parametrize(("accelerators", "n"), [({"two"}, 2), ({"cpu"}, 8), ({"auto"}, 8), ({"cpu", "two"}, 8)])
def test_a_sweep_has_a_process_for_each_device(two: str, accelerators: set[str], n: int) -> None:
    assert len(on_devices(Processes(n=8), accelerators).places()) == n
