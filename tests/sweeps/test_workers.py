"""Workers elsewhere: the runs of a sweep are those of this machine's processes, whatever becomes of a worker."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import pytest

import cluster
import sshd
from faults import ended, forked
from shoal import machine
from shoal.app.multirun import launch as launching
from shoal.app.train import go_on
from shoal.cli import train as main
from shoal.rundir import Status, read_info
from shoal.sweeps import serving
from shoal.sweeps.hosts import PROGRAM, Slurm
from shoal.sweeps.links import MARK, Surroundings
from shoal.sweeps.serving import Hello
from sweeps import ELSEWHERE, NOISY, SMALL, as_here, behind, info, runs, same, sweep, words

pytestmark = pytest.mark.usefixtures("undrawn")

CUT_OFF = """#!/bin/sh
# A network between the launcher and a worker, which lives on when that is gone.
echo $$ > group
mkfifo in.$$ out.$$
setsid sh -c 'echo $$ > holder.$$; exec sleep 300' 3<> in.$$ 4<> out.$$ > /dev/null &
setsid "$@" < in.$$ > out.$$ &
cat out.$$ &
cat > in.$$
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster of this module's own."""
    if why := cluster.missing():
        pytest.skip(why)
    with pytest.MonkeyPatch.context() as patch, cluster.cluster(tmp_path_factory.mktemp("slurm")) as settings:
        patch.setenv("SLURM_CONF", str(settings))
        yield


@pytest.fixture(params=[pytest.param("command", marks=[] if cluster.missing() else [pytest.mark.long]), "slurm"])
def elsewhere(request: pytest.FixtureRequest, workdir: Path) -> list[str]:
    """The overrides that have the workers elsewhere."""
    if request.param == "slurm":
        request.getfixturevalue("slurm")
        return ["workers=slurm", "workers.partition=short"]
    return behind("node", NOISY)


def launched(*overrides: str) -> int:
    """The command in a copy of this process; its process id."""
    return forked(lambda: main(words(*overrides)), log=Path("log"))


def training(pid: int, seconds: float = 60) -> set[int]:
    """The processes of the workers, once one of them trains."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = {read_info(path).pid for path in Path("sweep").glob("*/run.json")}
        if found:
            return {each for each in found if each is not None}
        time.sleep(0.02)
    raise AssertionError(Path("log").read_text())


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def until(holds: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def jobs(name: str = "shoal", states: str = "running") -> list[str]:
    """The jobs of this name, the workers unless it is given, that are in one of these states."""
    command = ["squeue", "--noheader", "--format=%i", f"--name={name}", f"--states={states}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def is_pending(pid: int, number: int) -> bool:
    """Whether a signal waits for a process that is stopped."""
    [masks] = [line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "ShdPnd" in line]
    return bool(int(masks, 16) >> (number - 1) & 1)


def scancel(*options: str) -> None:
    subprocess.run(["scancel", *options], check=True)


def script(*overrides: str) -> None:
    """A batch script that trains a sweep, and says with what exit code."""
    lines = [
        "import os, pathlib",
        "from shoal.cli import train",
        f"pathlib.Path('code.new').write_text(str(train({words(*overrides)!r})))",
        "os.replace('code.new', 'code')",
    ]
    Path("job.sh").write_text(f"#!/bin/sh\nexec {sys.executable} -c {shlex.quote(chr(10).join(lines))}\n")


def written(name: str, seconds: float) -> str:
    """What a file says, once it is there."""
    until(lambda: Path(name).exists(), seconds)
    return Path(name).read_text() if Path(name).exists() else ""


def contents() -> dict[str, bytes]:
    """Every file of the run directories."""
    return {str(path): path.read_bytes() for path in Path("sweep").rglob("*") if path.is_file()}


@pytest.mark.usefixtures("slurm")
def test_a_worker_that_is_killed_costs_its_block_only(workdir: Path, here: Path) -> None:
    launcher = launched(*ELSEWHERE, "workers=slurm", "workers.partition=short")
    victim = next(iter(training(launcher)))

    os.kill(victim, signal.SIGKILL)

    assert ended(launcher) == 0
    assert victim != launcher
    assert "to start again, each by itself: its process" in Path("log").read_text()
    assert as_here(here)


@pytest.mark.long
def test_a_worker_behind_ssh_that_is_killed_costs_its_block_only(
    workdir: Path, here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if why := sshd.missing():
        pytest.skip(why)
    with sshd.server(tmp_path_factory.mktemp("sshd")) as options:
        there = ["workers=ssh", "workers.hosts=[127.0.0.1,localhost]", f"workers.extra={json.dumps(options)}"]
        launcher = launched(*ELSEWHERE, *there)

        os.kill(next(iter(training(launcher))), signal.SIGKILL)

        assert ended(launcher) == 0, Path("log").read_text()
    assert "to start again, each by itself" in Path("log").read_text()
    assert as_here(here)


def test_a_worker_that_is_cut_off_and_goes_on_writing_is_not_believed(workdir: Path, here: Path) -> None:
    launcher = launched(*ELSEWHERE, *behind("node", CUT_OFF), "workers.n=1")
    (frozen,) = training(launcher)
    os.kill(frozen, signal.SIGSTOP)
    run = next(each for each in runs() if each.info.exists())

    os.killpg(int(Path("group").read_text()), signal.SIGKILL)
    code = ended(launcher)
    before = contents()
    os.kill(frozen, signal.SIGCONT)
    gone = until(lambda: not alive(frozen))
    for holder in Path().glob("holder.*"):
        os.kill(int(holder.read_text()), signal.SIGKILL)

    assert code == 0
    assert "to start again, each by itself: its process was killed by SIGKILL" in Path("log").read_text()
    assert gone
    assert contents() == before
    assert len(run.events()) == 1
    assert read_info(run.info).start in ("1-3", "1-4")
    assert not Path("sweep/.leases").exists()
    assert as_here(here)


def test_a_launcher_that_is_killed_leaves_no_worker_and_goes_on(elsewhere: list[str], here: Path) -> None:
    launcher = launched(*ELSEWHERE, *elsewhere)
    workers = training(launcher)

    os.kill(launcher, signal.SIGKILL)
    ended(launcher)
    gone = until(lambda: not any(map(alive, workers)), seconds=5)
    again = sweep(*ELSEWHERE, *elsewhere, "workers.n=1")

    assert gone
    assert again.returncode == 0
    assert as_here(here)


@pytest.mark.usefixtures("slurm")
def test_a_worker_that_slurm_wants_back_saves_and_another_goes_on(workdir: Path, here: Path) -> None:
    launcher = launched(*ELSEWHERE, "workers=slurm", "workers.n=1")
    (worker,) = training(launcher)
    os.kill(worker, signal.SIGSTOP)  # it is still in training when the signal has come, however long that takes
    first = jobs()

    scancel("--signal=USR1", *first)  # as SLURM itself does before a time limit, and with TERM where it preempts
    pending = until(lambda: is_pending(worker, signal.SIGUSR1))
    os.kill(worker, signal.SIGCONT)

    assert pending
    assert ended(launcher) == 0, Path("log").read_text()
    assert "saved, to go on with another worker: SIGUSR1 came to its worker" in Path("log").read_text()
    gone_on = [each for each in map(read_info, [run.info for run in runs()]) if each.sessions == 2]
    assert gone_on
    for each in gone_on:
        assert (each.host, each.hardware["gpus"]) == (socket.gethostname(), [])
        assert each.hardware["slurm"]["job"] not in first
        assert each.hardware["slurm"].keys() >= {"job", "step", "partition", "node"}
    assert as_here(here)


@pytest.mark.long
@pytest.mark.usefixtures("slurm")
def test_a_worker_whose_time_is_up_saves_and_another_goes_on(workdir: Path, here: Path) -> None:
    launcher = launched(*ELSEWHERE, "workers=slurm", "workers.n=1", "workers.time=1")
    (worker,) = training(launcher)
    os.kill(worker, signal.SIGSTOP)  # SLURM has it go on when it sends TERM, more than a minute later

    code = ended(launcher, seconds=240)

    assert code == 0, Path("log").read_text()
    assert "saved, to go on with another worker: SIGTERM came to its worker" in Path("log").read_text()
    assert max(read_info(run.info).sessions for run in runs()) == 2
    assert as_here(here)


def served() -> tuple[Connection, int]:
    """A worker that waits for a block: the connection to it, and its process id."""
    ours, theirs = Pipe()

    def work() -> int:
        ours.close()
        serving.serve(theirs, theirs)
        return 0

    child = forked(work)
    theirs.close()
    return ours, child


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_worker_that_is_wanted_back_while_it_waits_says_so(name: str) -> None:
    ours, child = served()
    ours.recv()

    os.kill(child, getattr(signal, name))

    assert ours.recv() == serving.Preempted(f"{name} came to its worker")
    assert ended(child) == 0


def test_ctrl_c_saves_what_trains_elsewhere_and_resume_may_train_it_here(workdir: Path, here: Path) -> None:
    launcher = launched(*ELSEWHERE, *behind("node", NOISY), "workers.n=1")
    training(launcher)

    os.kill(launcher, signal.SIGINT)
    code = ended(launcher)
    stopped = info()
    resumed = go_on(Path("sweep"), ["workers=local"]).tell()

    assert code == 130
    assert stopped.status is Status.INTERRUPTED
    assert Status.INTERRUPTED in [job.status for job in stopped.jobs]
    assert resumed == 0
    assert as_here(here)


def test_workers_that_cannot_be_started_are_told_with_what_they_said(workdir: Path) -> None:
    found = sweep(*ELSEWHERE, *behind("node", "#!/bin/sh\necho 'no such partition' >&2\nexit 3\n"))

    assert found.returncode == 1
    assert "the sweep goes on with 1" in found.stderr
    problem, hint = found.stderr.splitlines()[-2:]
    assert re.match(r"error: no worker process can be started: worker [01] \(", problem)  # whichever ends last
    assert problem.endswith("its process ended with exit code 3: no such partition")
    assert hint == "  train on this machine: workers=local"


REGISTERED = """#!/bin/sh
echo $$ > new.$$; mv new.$$ began.$$
exec "$@"
"""


def began() -> list[int]:
    """The processes of the workers that were begun behind a script that registers them."""
    return [int(path.read_text()) for path in Path().glob("began.*")]


def test_workers_elsewhere_begin_while_jobs_are_composed(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[bool] = []
    compared = launching.refuse_mixed
    monkeypatch.setattr(
        launching, "refuse_mixed", lambda jobs: (there.append(until(lambda: len(began()) == 2)), compared(jobs))
    )

    found = sweep(*SMALL, "seed=0,1,2", *behind("node", REGISTERED))

    assert found.returncode == 0
    assert there == [True]
    assert len(began()) == 2


def test_workers_that_were_begun_for_nothing_end_with_the_command(workdir: Path) -> None:
    found = sweep(*SMALL, "optimizer.lr=0.1,-1", *behind("node", REGISTERED))

    assert found.returncode == 2
    assert found.stderr.startswith("error: optimizer.lr=-1")
    assert not any(map(alive, began()))


def test_workers_elsewhere_stay_for_all_batches_of_a_study_and_then_end(workdir: Path) -> None:
    study = ["optimizer.lr=interval(1e-3,1e-1)", "hydra/sweeper=optuna", "sweep.n_trials=6", "sweep.batch=2"]
    sweep(*SMALL, *study, "hydra.sweep.dir=here")

    found = sweep(*SMALL, *study, *behind("node", REGISTERED), "hydra.sweep.dir=there", "workers.n=1")

    assert found.returncode == 0, found.stderr
    assert len(began()) == 1
    assert not any(map(alive, began()))
    assert all(same(mine, own) for mine, own in zip(runs("there"), runs("here"), strict=True))


def test_a_worker_for_which_nothing_waits_is_let_go_while_others_train(workdir: Path) -> None:
    launcher = launched(*ELSEWHERE, *behind("node", REGISTERED), "sweep.block=4")
    workers = training(launcher)
    frozen = [os.kill(each, signal.SIGSTOP) for each in workers]  # it is still in training when the other one is gone

    gone = until(lambda: len(began()) == 2 and sum(map(alive, began())) == 1)
    for each in workers:
        os.kill(each, signal.SIGCONT)

    assert len(frozen) == 1
    assert gone
    assert ended(launcher) == 0, Path("log").read_text()


def test_a_worker_that_still_imports_torch_ends_with_its_launcher(workdir: Path) -> None:
    Path("torch.py").write_text("import time\ntime.sleep(100)\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(workdir), *sys.path])}
    heard, inbox = Pipe(duplex=False)
    outbox, told = Pipe(duplex=False)
    worker = subprocess.Popen([sys.executable, *PROGRAM], env=environment, stdin=outbox.fileno(), stdout=inbox.fileno())
    for theirs in (outbox, inbox):
        theirs.close()
    told.send(Surroundings.here(shared=True))
    os.read(heard.fileno(), len(MARK))
    hello = heard.recv()

    told.close()

    assert hello.pid == worker.pid
    assert worker.wait(timeout=20) == 0


def test_a_worker_with_another_version_is_refused(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "installed", lambda name: "9.9")

    found = sweep(*ELSEWHERE, *behind("node", NOISY), "workers.n=1")

    assert found.returncode == 1
    assert ", the launcher 9.9" in found.stderr
    assert "no worker process can be started" in found.stderr


def test_a_sweep_elsewhere_has_the_jobs_of_the_sweep_here(workdir: Path) -> None:
    small = [*SMALL, "seed=range(2)"]
    for name, overrides in {"a": [], "b": ["workers=command", "workers.command=[/bin/false]"]}.items():
        sweep(*small, *overrides, f"hydra.sweep.dir={name}")

    here, there = info("a").jobs, info("b").jobs
    assert [job.hash for job in here] == [job.hash for job in there]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["workers=slurm", "workers.partion=x"], "workers.partion=x (command line): no such setting"),
        (["workers=slurm", "workers.n=0"], "workers.n=0 (command line): must be an integer of at least 1"),
        (
            ["workers=ssh"],
            "workers.hosts=??? (conf/workers/ssh.yaml): must be given: a list of texts, at least 1 of them\n"
            "  for example workers.hosts=[NAME]",
        ),
        (
            ["workers=ssh", "workers.hosts=[]"],
            "workers.hosts=[] (command line): must be a list of texts, at least 1 of",
        ),
        (
            ["workers=slurm", 'workers.extra="--mem=2G"'],
            "workers.extra=--mem=2G (command line): must be a list of texts\n"
            "  for a list of one: 'workers.extra=[\"--mem=2G\"]'",
        ),
        (["workers=slurm", "sweep.processes=2"], "sweep.processes=2 (command line): is for worker processes of this"),
    ],
)
def test_what_workers_cannot_be_is_refused_before_anything_is_composed(
    overrides: list[str], problem: str, workdir: Path
) -> None:
    found = sweep(*ELSEWHERE, *overrides)

    assert found.returncode == 2
    assert found.stderr.startswith(f"error: {problem}")
    assert len(found.stderr.splitlines()) <= 3
    assert not Path("sweep").exists()


def test_a_single_run_has_no_workers(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "workers=slurm"]) == 2
    assert "says how a sweep is run, and this is a single run" in capsys.readouterr().err


def test_within_a_job_of_slurm_workers_are_steps_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Slurm(n=2, partition="short", time=10, gpus=1, extra=["--mem=2G"])
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    outside = there.before(0)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")

    inside = there.before(0)

    assert {"--nodes=1", "--ntasks=1", "--partition=short", "--time=10", "--gpus=1", "--mem=2G"} <= {*outside}
    assert "--exact" in inside
    assert "--exact" not in outside


def test_a_worker_says_what_it_is_before_it_is_given_anything() -> None:
    ours, child = served()

    hello = ours.recv()
    ours.close()

    assert replace(hello, pid=os.getpid()) == Hello.here()
    assert hello.pid == child
    assert ended(child) == 0


@pytest.mark.usefixtures("slurm")
def test_a_batch_script_that_is_to_end_saves_and_goes_on_when_it_is_requeued(workdir: Path, here: Path) -> None:
    script(*ELSEWHERE, "workers=slurm", "workers.n=1")
    subprocess.run(["sbatch", "-N2", "-n2", "--requeue", "-ooutput", "job.sh"], check=True, capture_output=True)
    (worker,) = training(0)
    os.kill(worker, signal.SIGSTOP)  # it has not come to its end when the signal comes
    (job,) = jobs("job.sh")

    scancel("--batch", "--signal=USR1", job)  # as SLURM does with --signal=B:USR1@30 before a time limit
    time.sleep(1)
    os.kill(worker, signal.SIGCONT)
    first = written("code", 60)
    Path("code").unlink()
    until(lambda: not jobs("job.sh", "running,completing"))
    subprocess.run(["scontrol", "requeue", job], check=True)
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now+3"], check=True)  # else in two minutes
    second = written("code", 150)

    assert first == "143", Path("output").read_text()
    assert second == "0", Path("output").read_text()
    sessions = [read_info(run.info).sessions for run in runs()]
    assert max(sessions) == 2
    assert as_here(here)
