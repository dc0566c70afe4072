"""The run directory: its layout, atomic writes, digests, the lock, and reading it all back. Imports no torch."""

from shoal.rundir.atomic import write_bytes, write_json, write_text
from shoal.rundir.claim import claim
from shoal.rundir.config_file import read_config, write_config
from shoal.rundir.history import History, read_history, read_intact
from shoal.rundir.info import (
    Best,
    ListedRun,
    RunInfo,
    Status,
    decode_info,
    decode_listed,
    missed,
    read_info,
    write_info,
)
from shoal.rundir.integrity import digest, seal, sealed, unsealed, verify
from shoal.rundir.layout import RunDir, new_id
from shoal.rundir.sweep_info import JobInfo, StudyInfo, SweepDir, SweepInfo, TrialInfo, read_sweep, write_sweep

__all__ = [
    "Best",
    "History",
    "JobInfo",
    "ListedRun",
    "RunDir",
    "RunInfo",
    "Status",
    "StudyInfo",
    "SweepDir",
    "SweepInfo",
    "TrialInfo",
    "claim",
    "decode_info",
    "decode_listed",
    "digest",
    "missed",
    "new_id",
    "read_config",
    "read_history",
    "read_info",
    "read_intact",
    "read_sweep",
    "seal",
    "sealed",
    "unsealed",
    "verify",
    "write_bytes",
    "write_config",
    "write_info",
    "write_json",
    "write_sweep",
    "write_text",
]
