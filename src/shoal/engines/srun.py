"""Whether SLURM's `srun` started this process, as one of those that train together; needs no torch."""

from __future__ import annotations

import os

_OF_A_STEP = ("SLURM_STEP_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS")
"""What srun tells each process that it starts; a batch script is told all but the step."""
_ACCOUNTS = {
    "job": "SLURM_JOB_ID",
    "step": "SLURM_STEP_ID",
    "array": "SLURM_ARRAY_JOB_ID",
    "task": "SLURM_ARRAY_TASK_ID",
    "cluster": "SLURM_CLUSTER_NAME",
    "partition": "SLURM_JOB_PARTITION",
    "node": "SLURMD_NODENAME",
    "gpus": "SLURM_JOB_GPUS",
}
_FIRST_SPECIAL_STEP = 0xFFFFFFF0
"""SLURM numbers from here on the steps that no srun of the user's began: that of a batch script, of an interactive
shell, of an external process (`SLURM_MAX_NORMAL_STEP_ID` in its slurm.h)."""
_SHELLS = ("bash", "interactive")
"""Names of jobs that Lightning takes for a shell, in which the user types what is to run."""


def started() -> bool:
    """Whether `srun` started this process, and not a shell within its allocation."""
    if not all(os.environ.get(name, "").isdecimal() for name in _OF_A_STEP):
        return False
    return int(os.environ["SLURM_STEP_ID"]) < _FIRST_SPECIAL_STEP and os.environ.get("SLURM_JOB_NAME") not in _SHELLS


def n_processes() -> int:
    """How many processes `srun` started together with this one; 1 where it did not start this one."""
    return int(os.environ["SLURM_NTASKS"]) if started() else 1


def in_a_job() -> bool:
    """Whether this process has an allocation of SLURM's, whatever started it there."""
    return "SLURM_JOB_ID" in os.environ


def forget_step() -> None:
    """Let this process be one of its own, though `srun` started it: it trains with no other."""
    for name in _OF_A_STEP[1:]:  # the step stays what it is in SLURM's accounts
        os.environ.pop(name, None)


def whereabouts() -> dict[str, str]:
    """By what SLURM's accounts and logs name where this process runs; nothing outside of a job."""
    return {key: os.environ[name] for key, name in _ACCOUNTS.items() if os.environ.get(name)} if in_a_job() else {}
