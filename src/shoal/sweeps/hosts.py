"""Where the workers of a sweep are: the config group `workers`."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Annotated

from annotated_types import Ge, Gt, MinLen

from shoal.engines import srun
from shoal.errors import UsageError
from shoal.sweeps.links import Commanded, Forked, Link
from shoal.sweeps.processes import warm_up

PROGRAM = ("-u", "-m", "shoal.sweeps.worker")
"""What a worker runs by its Python, where a command starts it."""


class Hosts(ABC):
    """How worker processes come to be; each has a number, its place in `places`."""

    hint = "train on this machine: workers=local"
    """What to do where none can be started."""
    apart = False
    """Whether one may live on where it is taken for lost, and write where another one goes on."""

    @abstractmethod
    def places(self) -> Sequence[str]:
        """Where each worker is, in words."""

    def expect(self) -> None:  # noqa: B027 (most have nothing to get ready)
        """Get ready, beside whatever this process does meanwhile: workers will be wanted.

        Raises:
            UsageError: where what starts them is not installed.
        """


class Linked(Hosts):
    """Those that stay, one block after the other, at the other end of a connection."""

    @abstractmethod
    def link(self, number: int) -> Link:
        """Start a worker.

        Raises:
            OSError: where there can be no further process.
        """


@dataclass(frozen=True, kw_only=True)
class Processes(Linked):
    """Processes of this machine, copies of one that has torch."""

    n: int
    hint = "train in this one: sweep.processes=0"

    def places(self) -> Sequence[str]:
        return ["this machine"] * self.n

    def expect(self) -> None:
        warm_up()

    def link(self, number: int) -> Link:
        return Forked(number)


@dataclass(frozen=True, kw_only=True)
class Remote(Linked):
    """Processes behind a command that carries their standard input and output.

    The folders of the sweep, of the data and of the user's modules are the same there, on a `shared` file system; or
    else the run directories are carried there and back, with the files that the configuration names.
    """

    python: str | None = None
    shared: bool = True
    apart = True

    def link(self, number: int) -> Link:
        command = [*self.before(number), self.python or sys.executable, *PROGRAM]
        return Commanded(command, shared=self.shared)

    @abstractmethod
    def before(self, number: int) -> list[str]:
        """What runs the rest of its line where the worker is to be."""


@dataclass(frozen=True, kw_only=True)
class Command(Remote):
    """Workers behind any command that runs the rest of its line somewhere."""

    command: Annotated[Sequence[str], MinLen(1)]
    n: Annotated[int, Ge(1)] = 2

    def places(self) -> Sequence[str]:
        return [" ".join(self.command)] * self.n

    def before(self, number: int) -> list[str]:
        return list(self.command)


@dataclass(frozen=True, kw_only=True)
class Ssh(Remote):
    """A worker on each of these hosts, which are entered without a password; one that is named twice has two."""

    hosts: Annotated[Sequence[str], MinLen(1)]
    extra: Sequence[str] = ()

    def places(self) -> Sequence[str]:
        return list(self.hosts)

    def before(self, number: int) -> list[str]:
        # No terminal, no questions; a host that is gone is noticed in a minute, by TCP alone it takes far longer.
        options = ["-T", "-oBatchMode=yes", "-oServerAliveInterval=15", "-oServerAliveCountMax=4"]
        return ["ssh", *options, *self.extra, self.hosts[number], "exec"]


@dataclass(frozen=True, kw_only=True)
class Slurm(Remote):
    """Workers that SLURM starts: jobs of their own on a login node, steps of the job within one."""

    n: Annotated[int, Ge(1)] = 2
    partition: str | None = None
    time: Annotated[int, Ge(1)] | str | None = None
    gpus: Annotated[int, Ge(1)] | None = None
    extra: Sequence[str] = ()

    def places(self) -> Sequence[str]:
        return ["SLURM"] * self.n

    def before(self, number: int) -> list[str]:
        # A step takes all of its job's cores, so that the next one waits, unless it asks for exactly what it needs.
        own = ["--exact"] if srun.in_a_job() else ["--job-name=shoal"]
        options = {"partition": self.partition, "time": self.time, "gpus": self.gpus}
        given = [f"--{name}={value}" for name, value in options.items() if value is not None]
        return ["srun", "--nodes=1", "--ntasks=1", "--unbuffered", "--quit-on-interrupt", *own, *given, *self.extra]


@dataclass(frozen=True, kw_only=True)
class Ray(Hosts):
    """Tasks of a Ray cluster: one for each block."""

    address: str | None = "auto"
    n: Annotated[int, Ge(1)] = 2
    cpus: Annotated[float, Gt(0)] = 1
    gpus: Annotated[float, Ge(0)] = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    shared: bool = True
    apart = True

    def places(self) -> Sequence[str]:
        return ["Ray"] * self.n

    def expect(self) -> None:
        # Not imported for that, which takes a second.
        if find_spec("ray") is None:
            raise UsageError("workers=ray needs Ray", hint="pip install 'shoal[ray]'")
