"""Standard streams that are closed, or whose reader is gone: what was asked for is done all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = "task=parabola task.n_samples=20 task.batch_size=10 trainer.max_epochs=1"
SPEAK = """
import os, subprocess, sys
from shoal.streams import keep_standard_streams
keep_standard_streams()
with open("checkpoint", "w") as file:
    print("to whoever listens", flush=True)
    print("and in case of need", file=sys.stderr)
    subprocess.run([sys.executable, "-c", "import sys; print(6); sys.exit(sys.stderr is None)"], check=True)
    file.write(f"{sys.stdin.read()}trained {file.fileno() > 2}")
"""


def _bash(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=folder, text=True, capture_output=True, timeout=100, check=False
    )


@pytest.mark.parametrize(
    "streams", ["<&-", ">&- < /dev/null", "2>&- < /dev/null", "<&- >&- 2>&-", "> /dev/full < /dev/null", "<&- | true"]
)
def test_a_process_outlasts_its_streams_and_no_file_takes_their_place(streams: str, tmp_path: Path) -> None:
    (tmp_path / "speak.py").write_text(SPEAK)

    done = _bash(f"(sleep 0.1; exec {sys.executable} speak.py) {streams}", tmp_path)

    assert (done.returncode, "Error" in done.stderr) == (0, False)
    assert (tmp_path / "checkpoint").read_text() == "trained True"


def test_a_full_pipe_that_does_not_wait_is_waited_for(tmp_path: Path) -> None:
    program = """
import os, sys
from shoal.streams import keep_standard_streams
os.set_blocking(1, False)
keep_standard_streams()
print("x" * 1_000_000)
"""
    (tmp_path / "long.py").write_text(program)

    done = _bash(f"{sys.executable} long.py | (sleep 0.3; wc -c)", tmp_path)

    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1000001", "")


def test_a_sweep_whose_reader_is_gone_trains_every_run_and_these_predict(tmp_path: Path) -> None:
    shoal = f"{sys.executable} -m shoal.cli"

    done = _bash(f"{shoal} train -m {SMALL} 'model.hidden=[4],[5]' seed=0,1 <&- 2>&- | true", tmp_path)
    predicted = _bash(f"{shoal} predict last/0 --x 0.5 | true", tmp_path)

    runs = list(tmp_path.glob("outputs/parabola/*/*/run.json"))
    assert done.returncode == 0
    assert [json.loads(run.read_text())["status"] for run in runs] == ["completed"] * 4
    assert predicted.returncode == 0
    assert predicted.stderr.startswith("warning: the model is no better than one that always says the mean")
    assert len(predicted.stderr.splitlines()) == 1


def test_a_copy_of_a_stream_leads_where_it_led_when_the_process_moves_on(tmp_path: Path) -> None:
    program = f"""
import os, sys
from shoal.streams import copied
copy = copied(sys.stderr)
os.dup2(os.open({str(tmp_path / "log")!r}, os.O_WRONLY | os.O_CREAT), 2)
print("into the log", file=sys.stderr)
print("for the terminal", file=copy, flush=True)
"""

    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)

    assert done.stderr == "for the terminal\n"
    assert (tmp_path / "log").read_text() == "into the log\n"
