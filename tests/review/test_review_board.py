"""TensorBoard on the right runs, under names that say what they are."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from browser import chromium, needs_browser
from runs import make_run, make_sweep
from shoal.errors import UsageError
from shoal.record.loggers.events import EventFile
from shoal.review.board import board_folder, chosen_runs, label, preselected
from shoal.review.catalog import find
from shoal.review.entries import RunEntry, runs
from shoal.rundir import RunDir, read_info

SHADOWED = """(function all(node) {
    const inner = [...node.querySelectorAll('*')].filter((each) => each.shadowRoot).map((each) => all(each.shadowRoot));
    return [node.body ? node.body.innerText : node.textContent, ...inner].join(' ');
})"""
"""All the text of a page, that of its components included."""


def write_events(run: RunDir, **settings: float) -> None:
    """An event file with the loss of a run, and its settings with the best loss."""
    events = EventFile.create(run.path)
    for step in range(5):
        events.scalars({"val/loss": 1 / (step + 1)}, step=step)
    if settings:
        events.hyperparameters(settings, {"~hp/best val/loss": 0.0123, "val/loss": None}, step=5)
    events.flush()


@contextmanager
def served(words: list[str], folder: Path) -> Iterator[str]:
    """`shoal board` while it runs: its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "shoal.cli", "board", *words, "--port", str(port)]
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while not _runs_at(address):
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < end
            time.sleep(0.1)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def _runs_at(address: str) -> list[str]:
    try:
        with urllib.request.urlopen(f"{address}/data/runs", timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return []


def _steps_at(address: str, run: str) -> list[int]:
    """The steps of the loss of a run, as the page asks for them."""
    query = urllib.parse.urlencode({"run": run, "tag": "val/loss"})
    with urllib.request.urlopen(f"{address}/data/plugin/scalars/scalars?{query}", timeout=5) as answer:
        return [step for _, step, _ in json.load(answer)]


def entry(run: RunDir) -> RunEntry:
    return RunEntry(run.path, read_info(run.info))


def test_a_sweep_of_hundreds_is_shown_from_its_best_down_to_its_worst(tmp_path: Path) -> None:
    for number in range(100):
        run = make_run(tmp_path, name=f"{number:03d}", rows=[], final={"val/loss": float(number)}, figure=False)
        (run.path / "events.out.tfevents.1").touch()

    chosen = preselected(runs(find([tmp_path])), 10)

    assert [run.id for run in chosen] == ["000", "001", "002", "003", "004", "005", "029", "052", "075", "099"]


def test_runs_without_event_files_are_left_out_and_none_is_an_error(tmp_path: Path) -> None:
    (make_run(tmp_path, name="with").path / "events.out.tfevents.1").touch()
    make_run(tmp_path, name="without")
    make_run(tmp_path / "empty", name="without")

    assert [run.id for run in chosen_runs(find([tmp_path]), limit=None)] == ["with"]
    with pytest.raises(UsageError, match="event file"):
        chosen_runs(find([tmp_path / "empty"]), limit=None)


def test_a_label_says_what_differs_and_is_one_file_name(tmp_path: Path) -> None:
    run = make_run(tmp_path, name="20261101-100000-k3f9x2", differs={"optimizer.lr": 0.1, "task.path": "a/b"})

    assert label(entry(run)) == "lr=0.1 path=a_b k3f9x2"


def test_the_links_are_gone_after_use_and_the_runs_are_not(tmp_path: Path) -> None:
    made = [make_run(tmp_path, settings={"seed": seed}) for seed in range(2)]

    with board_folder([entry(run) for run in made]) as folder:
        names = sorted(path.name for path in folder.iterdir())

    assert [name.rpartition(" ")[0] for name in names] == ["lr=0.01 seed=0", "lr=0.01 seed=1"]
    assert not folder.exists()
    assert all(run.info.exists() for run in made)


def test_the_board_serves_this_machine_only_and_leaves_nothing_behind(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "outputs", {"optimizer.lr": [0.01, 0.1]})
    for job in ("0000", "0001"):
        write_events(RunDir(sweep.path / job))

    with served(["last"], tmp_path) as address:
        names = _runs_at(address)
        listening = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout
        port = f":{int(address.rpartition(':')[2]):04X} "
        local = [line.split()[1] for line in listening.splitlines() if port in f"{line.split()[1]} "]

    short = sweep.path.name.rpartition("-")[2]
    assert sorted(names) == [f"lr=0.01 {short}-0000", f"lr=0.1 {short}-0001"]
    assert {place.partition(":")[0] for place in local} == {"0100007F"}
    assert list(tmp_path.glob("shoal-board-*")) == []


@needs_browser
@pytest.mark.browser
def test_the_board_shows_curves_and_settings_with_real_metrics_in_a_browser(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "outputs", {"optimizer.lr": [0.01, 0.1]})
    for job, lr in (("0000", 0.01), ("0001", 0.1)):
        write_events(RunDir(sweep.path / job), **{"optimizer.lr": lr})

    with served(["last"], tmp_path) as address, chromium(tmp_path / "profile") as browser:
        browser.open(f"{address}/#timeseries")
        browser.wait("['lr=0.01', 'lr=0.1 ', 'Smoothed'].every((text) => document.body.innerText.includes(text))")
        browser.screenshot("board")
        browser.open(f"{address}/#hparams")
        browser.wait(f"{SHADOWED}(document).includes('best val/loss') && {SHADOWED}(document).includes('0.012300')")
        browser.screenshot("board-hparams")
        texts = browser.run(f"return {SHADOWED}(document)")
        severe = [line for line in browser.driver.get_log("browser") if line["level"] == "SEVERE"]

    assert "optimizer.lr" in texts
    assert "0.10000" in texts
    assert "model.hidden" not in texts
    assert severe == []


@needs_browser
@pytest.mark.browser
def test_the_board_shows_what_is_intact_of_a_damaged_event_file(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "outputs", {"optimizer.lr": [0.01, 0.1, 0.5]})
    for job in ("0000", "0001", "0002"):
        write_events(RunDir(sweep.path / job))
    (cut,), (flipped,) = (RunDir(sweep.path / job).events() for job in ("0001", "0002"))
    cut.write_bytes(cut.read_bytes()[:-9])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 0x10
    flipped.write_bytes(content)

    with served(["last"], tmp_path) as address, chromium(tmp_path / "profile") as browser:
        browser.open(f"{address}/#timeseries")
        browser.wait(
            "['lr=0.01', 'lr=0.1 ', 'lr=0.5', 'Smoothed'].every((text) => document.body.innerText.includes(text))"
        )
        browser.screenshot("board-damaged")
        steps = {name.partition(" ")[0]: _steps_at(address, name) for name in _runs_at(address)}
        severe = [line for line in browser.driver.get_log("browser") if line["level"] == "SEVERE"]

    assert steps == {"lr=0.01": [0, 1, 2, 3, 4], "lr=0.1": [0, 1, 2, 3], "lr=0.5": [0, 1]}
    assert severe == []
