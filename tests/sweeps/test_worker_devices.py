"""What workers elsewhere have to compute with: cores, GPUs and other devices, which the launcher need not have."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytorch_lightning.accelerators import AcceleratorRegistry, CPUAccelerator

from shoal import machine
from sweeps import NOISY, SMALL, behind, statuses, sweep

pytestmark = pytest.mark.usefixtures("undrawn")

WITH_A_DEVICE = """
import os, runpy, sys
from pytorch_lightning.accelerators import AcceleratorRegistry, CPUAccelerator

class Device(CPUAccelerator):
    # The second worker that begins has none of it.
    is_available = staticmethod(lambda: there)

try:
    there = not os.mkdir("taken")
except FileExistsError:
    there = False
AcceleratorRegistry.register("device", Device)
sys.argv = ["worker"]
runpy.run_module("shoal.sweeps.worker", run_name="__main__")
"""


class Missing(CPUAccelerator):
    """A device that others have."""

    @staticmethod
    def is_available() -> bool:
        return False


@pytest.fixture
def device() -> Iterator[str]:
    """An accelerator that this machine has not."""
    AcceleratorRegistry.register("device", Missing)
    yield "device"
    AcceleratorRegistry.remove("device")


def test_what_only_a_worker_has_is_trained_on_there_and_others_are_let_go(workdir: Path, device: str) -> None:
    Path("worker.py").write_text(WITH_A_DEVICE)
    there = behind("node", f"#!/bin/sh\nexec {sys.executable} {Path('worker.py').absolute()}\n")

    found = sweep(*SMALL, "seed=range(4)", "sweep.block=1", f"trainer.accelerator={device}", *there)

    assert found.returncode == 0, found.stderr
    assert re.search(
        r"worker [01] on \S+ \(\d+ cores?, .*\) has no device for trainer.accelerator=device", found.stderr
    )
    assert statuses() == ["completed"] * 4


def test_a_device_that_no_worker_has_ends_the_sweep_and_nothing_has_begun(workdir: Path) -> None:
    found = sweep(*SMALL, "seed=range(2)", "trainer.accelerator=tpu", *behind("node", NOISY))

    assert found.returncode == 1
    assert "has no device for trainer.accelerator=tpu" in found.stderr.splitlines()[-2]
    assert statuses() == [None, None]


def test_workers_that_share_the_cores_of_a_machine_are_told(workdir: Path) -> None:
    core = min(machine.core_numbers())

    found = sweep(
        *SMALL, "seed=range(4)", "sweep.block=1", *behind("node", f'#!/bin/sh\nexec taskset -c {core} "$@"\n')
    )

    assert f"{socket.gethostname()} has 1 core for 2 workers: they take turns" in found.stderr


GPU = """Model: \t\t NVIDIA H200
IRQ:   \t\t 92
GPU UUID: \t GPU-{uuid}-0c1d
"""


@pytest.mark.parametrize(
    ("visible", "n"), [(None, 2), ("", 0), ("1", 1), ("0, 1", 2), ("GPU-bbbb", 1), ("NoDevFiles", 0)]
)
def test_gpus_are_named_as_far_as_the_driver_tells_and_a_job_may_use(
    visible: str | None, n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uuid in ("aaaa", "bbbb"):
        (tmp_path / uuid).mkdir()
        (tmp_path / uuid / "information").write_text(GPU.format(uuid=uuid))
    monkeypatch.setattr(machine, "_DRIVER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert machine.gpus() == ("NVIDIA H200",) * n
