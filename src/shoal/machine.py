"""What this machine offers a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_TELLING = ("vendor_id", "cpu family", "model", "cache size", "flags", "CPU implementer", "CPU part", "Features")
"""Beginnings of the lines of /proc/cpuinfo that are the same whatever the processor does just now."""

PLACE = "SHOAL_PLACE"
"""The variable that has the number of a worker among those of this machine: of several GPUs each has one."""


_DRIVER = Path("/proc/driver/nvidia/gpus")
"""Where NVIDIA's driver tells of each GPU."""
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_only_checked = False
"""Whether jobs that are built here train on other machines."""


def cores() -> int:
    """The CPU cores this process may use."""
    return len(core_numbers())


def core_numbers() -> frozenset[int]:
    """The numbers of the CPU cores this process may use."""
    # Not cpu_count: a container, a scheduler or taskset may leave this process fewer.
    return frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def has_one_thread() -> bool:
    """Whether this is a process of Linux with a single thread, those counted of which Python knows nothing.

    The copy of a process with threads may wait for ever on what one of them held; on other systems libraries break in
    a copy that runs no program of its own.
    """
    try:
        return sys.platform == "linux" and len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def gpus() -> tuple[str, ...]:
    """Names of the GPUs this process may use, as far as a driver tells without torch: NVIDIA's does."""
    told = [_fields(path.read_text()) for path in sorted(_DRIVER.glob("*/information"))]
    given = os.environ.get(_VISIBLE)
    usable = (each for n, each in enumerate(told) if given is None or _named(given, n, each.get("GPU UUID", "")))
    return tuple(each.get("Model", "") for each in usable)


def _named(given: str, place: int, uuid: str) -> bool:
    """Whether a value of CUDA_VISIBLE_DEVICES names a GPU, by its place or by the beginning of its UUID."""
    wanted = [each.strip() for each in given.split(",")]
    return str(place) in wanted or any(each.startswith("GPU-") and uuid.startswith(each) for each in wanted)


@contextmanager
def only_checked() -> Iterator[None]:
    """Within this, jobs are built to be checked, and train on other machines: these say which devices they have."""
    global _only_checked
    before, _only_checked = _only_checked, True
    try:
        yield
    finally:
        _only_checked = before


def trains_here() -> bool:
    """Whether what is built here trains on this machine."""
    return not _only_checked


def architecture() -> str:
    """The kind of processor: x86_64, aarch64, ..."""
    import platform  # late: it takes longer to import than all else here

    return platform.machine()


def processor() -> str:
    """The processor's name, and its family and model, as far as the system tells."""
    import platform

    return named_processor(_cpuinfo()) or platform.processor() or platform.machine()


@cache
def kind() -> str:
    """All that the system tells of the kind of processor: what is kept for one holds for equal ones only."""
    found = dict.fromkeys(line for line in _cpuinfo().splitlines() if line.startswith(_TELLING))
    return "\n".join(found) or f"{architecture()} {processor()}"


def named_processor(cpuinfo: str) -> str | None:
    """The first processor's name in the text of /proc/cpuinfo; on arm64, where it has none, its maker's numbers."""
    told = _fields(cpuinfo)
    if "CPU part" in told:
        return f"{architecture()}, implementer {told.get('CPU implementer')}, part {told['CPU part']}"
    numbers = ", ".join(f"{key.removeprefix('cpu ')} {told[key]}" for key in ("cpu family", "model") if key in told)
    name = told.get("model name")
    return f"{name} ({numbers})" if name and numbers else name


def instructions() -> frozenset[str]:
    """What the processor has beyond its architecture, by Linux's names; empty where the system does not tell."""
    told = _fields(_cpuinfo())
    # x86 calls them flags, arm64 Features.
    return frozenset((told.get("flags") or told.get("Features") or "").split())


def installed(distribution: str) -> str:
    """The version of what pip installed under this name; `not installed` where it did not."""
    from importlib.metadata import PackageNotFoundError, version  # late: the same

    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def allow_open_files(n: int) -> None:
    """Let this process have `n` files open, as far as the system lets it."""
    try:
        import resource
    except ImportError:  # a system without such limits
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Up to the hard limit, which only an administrator can raise.
    most = n if hard == resource.RLIM_INFINITY else min(n, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@cache
def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _fields(cpuinfo: str) -> Mapping[str, str]:
    """What is told of the first processor."""
    found: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return found
