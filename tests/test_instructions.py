"""The instructions that the libraries compute with: which are chosen, by whom, and that every process has them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from commands import trained
from shoal import instructions, machine
from shoal.app.resume import resume
from shoal.app.start import start
from shoal.engines import portable
from shoal.engines.stack import steady
from shoal.errors import ConfigError
from shoal.rundir import RunDir, RunInfo, read_info, write_info
from spread import one_of

PROGRAM = Path(__file__).parent / "support" / "programs" / "portable_here.py"
SHORT = ["trainer.max_epochs=1", "task.n_samples=200", "callbacks=quiet"]
AS_INTEL = """
int mkl_serv_intel_cpu_true(void) { return 1; }
int mkl_serv_intel_cpu(void) { return 1; }
int mkl_serv_cpuiszen(void) { return 0; }
"""
"""Has MKL take any processor for one of Intel's, and so for one that has other kernels."""


@pytest.fixture
def unset() -> Iterator[None]:
    """The environment as it is before shoal has set anything, and again afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name in instructions.EVERYWHERE:
            patch.delenv(name, raising=False)
        yield


def program(folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """What the program of portable runs reports in a process with these variables."""
    kept = {name: value for name, value in os.environ.items() if name not in instructions.EVERYWHERE}
    whole = {**kept, "XDG_CACHE_HOME": str(folder / "cache"), **environment}
    done = subprocess.run([sys.executable, str(PROGRAM)], env=whole, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What portable runs come to on this processor as it is."""
    if instructions.lacking():
        pytest.skip(f"needs {instructions.lacking()}")
    return program(tmp_path_factory.mktemp("here"), {})


def test_mkl_is_told_to_compute_the_same_whatever_else_it_computes() -> None:
    environment: dict[str, str] = {}

    instructions.prepare(environment)

    assert environment == {"MKL_CBWR": "AUTO"}


def test_a_setting_of_the_users_own_is_kept_even_an_empty_one() -> None:
    environment = {"MKL_CBWR": ""}

    instructions.prepare(environment)

    assert environment == {"MKL_CBWR": ""}


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch has no MKL")
def test_these_tests_have_the_setting_in_force() -> None:
    asked = os.environ["MKL_CBWR"]

    # On a processor of another maker than its own, MKL takes AUTO for the instruction sets it may be asked for.
    assert asked != ""
    assert instructions.in_use()["mkl"] in (asked, "AUTO")


def test_runs_record_by_which_instructions_they_computed(workdir: Path, undrawn: None) -> None:
    _, info = start(SHORT)

    assert info.numerics == "native"
    assert info.instructions == instructions.in_use()
    assert set(info.instructions) == {"mkl", "aten", "onednn", "processor"}


def test_torch_at_work_with_other_instructions_is_refused_with_the_way_out(unset: None) -> None:
    before = dict(os.environ)

    with pytest.raises(ConfigError, match="torch has begun to compute with other instructions") as refused:
        instructions.choose("portable")

    assert len(refused.value.text().splitlines()) == 3
    assert "MKL_CBWR=COMPATIBLE ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2" in refused.value.text()
    assert dict(os.environ) == before


@pytest.mark.parametrize(("name", "value"), [("MKL_CBWR", "AVX2"), ("ATEN_CPU_CAPABILITY", "default")])
def test_settings_of_the_users_own_that_contradict_portable_are_refused(
    unset: None, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=f"{name}={value} is set in the environment; it has to be"):
        instructions.choose("portable")


@pytest.mark.parametrize(
    ("architecture", "flags", "lacking"),
    [
        ("aarch64", {"asimd"}, "an x86-64 processor"),
        ("x86_64", {"sse2", "avx"}, "a processor with AVX2 and FMA"),
        ("x86_64", {"avx2"}, "a processor with FMA"),
    ],
)
def test_a_processor_that_cannot_compute_portably_is_refused(
    monkeypatch: pytest.MonkeyPatch, architecture: str, flags: set[str], lacking: str
) -> None:
    monkeypatch.setattr(machine, "architecture", lambda: architecture)
    monkeypatch.setattr(machine, "instructions", lambda: frozenset(flags))

    with pytest.raises(ConfigError, match=f"needs {lacking}; this one is"):
        instructions.choose("portable")


def test_an_unknown_value_is_refused_with_those_that_there_are(workdir: Path) -> None:
    ended = trained("numerics=protable", *SHORT)

    assert ended.returncode == 2
    assert "numerics=protable (command line): must be native or portable" in ended.stderr


@pytest.mark.parametrize("accelerator", ["auto", "gpu"])
def test_portable_runs_are_for_cpus(accelerator: str) -> None:
    from shoal.build.checked_job import _refuse_accelerator

    with pytest.raises(ConfigError, match="numerics=portable is for CPUs"):
        _refuse_accelerator({"accelerator": accelerator})


def test_jobs_of_a_sweep_that_would_compute_differently_are_refused(workdir: Path) -> None:
    ended = trained("-m", "numerics=native,portable", *SHORT)

    assert ended.returncode == 2
    assert "numerics=portable (job 1, command line): is another than job 0 has, native" in ended.stderr


def test_a_run_that_has_begun_keeps_its_numerics(workdir: Path, undrawn: None) -> None:
    run, _ = start(SHORT)

    with pytest.raises(ConfigError, match="cannot change in a run that has begun"):
        resume(run.path, ["numerics=portable", "trainer.max_epochs=2"])


def test_a_run_from_before_there_was_a_choice_goes_on(workdir: Path, undrawn: None) -> None:
    run, _ = start(SHORT)
    older = "".join(line for line in run.config.read_text().splitlines(keepends=True) if "numerics" not in line)
    run.config.write_text(older)

    _, info = resume(run.path, ["trainer.max_epochs=2"])

    assert (info.numerics, info.epochs) == ("native", 2)


def changed(run: RunDir, **other: str) -> RunInfo:
    """run.json as if the run had computed by other instructions."""
    info = read_info(run.info)
    info = replace(info, instructions={**info.instructions, **other})
    write_info(run.info, info)
    return info


def test_a_resume_on_another_processor_says_so(
    workdir: Path, undrawn: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = start(SHORT)
    changed(run, aten="NEON", processor="another")

    _, info = resume(run.path, ["trainer.max_epochs=2"])

    now = instructions.in_use()
    sentence = f"it goes on by other instructions, aten NEON -> {now['aten']}, processor another -> {now['processor']}"
    assert sentence in capsys.readouterr().err
    assert sentence in run.log.read_text()
    assert info.instructions == now


def test_a_resume_by_the_same_instructions_says_nothing(
    workdir: Path, undrawn: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = start(SHORT)

    resume(run.path, ["trainer.max_epochs=2"])

    assert "instructions" not in capsys.readouterr().err


def test_another_processor_is_no_difference_where_runs_compute_portably() -> None:
    before = {"mkl": "COMPATIBLE", "aten": "AVX2", "onednn": "OFF", "processor": "one"}

    found = instructions.differing(before, {**before, "processor": "another"}, "portable")

    assert found == []


def test_a_stack_says_once_that_mkl_has_no_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(steady, "in_use", lambda: {"mkl": "OFF"})
    steady._tell_of_mkl.cache_clear()

    for _ in range(2):
        with steady.steady():
            pass

    steady._tell_of_mkl.cache_clear()
    assert capsys.readouterr().err.count("MKL computes without MKL_CBWR") == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", sorted(portable.FUNCTIONS))
def test_portable_kernels_are_right_to_the_last_places(name: str, dtype: torch.dtype) -> None:
    x = torch.cat([torch.linspace(-20, 20, 4001), torch.tensor([0.0, 1e-30, 1e30, torch.inf, -torch.inf, torch.nan])])
    x = x.to(dtype)
    exact = getattr(torch, name)(x.double()).numpy()
    with numpy.errstate(all="ignore"):
        spacing = numpy.spacing(abs(exact).astype(x.numpy().dtype)).astype(float)

    found = portable.FUNCTIONS[name](x).double().numpy()

    finite = numpy.isfinite(exact)
    numpy.testing.assert_array_equal(found[~finite], exact[~finite])
    assert (abs(found[finite] - exact[finite]) <= 4 * spacing[finite]).all()


def test_portable_kernels_do_all_that_those_they_replace_do(here: dict[str, Any]) -> None:
    assert [name for name, holds in here["checks"].items() if not holds] == []


def test_portable_runs_record_what_every_processor_has(here: dict[str, Any]) -> None:
    assert {**here["run"], "processor": ""} == {
        "numerics": "portable",
        "mkl": "COMPATIBLE",
        "aten": "AVX2",
        "onednn": "OFF",
        "processor": "",
    }


@pytest.mark.parametrize(
    "environment",
    one_of(
        2,
        [
            {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL", "DNNL_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "AUTO"},
            {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
        ],
    ),
    ids=["by the C library", "by MKL"],
)
def test_portable_bits_do_not_depend_on_what_the_processor_has(
    here: dict[str, Any], tmp_path: Path, environment: dict[str, str]
) -> None:
    elsewhere = program(tmp_path, environment)

    assert elsewhere["digests"] == here["digests"]


def test_portable_bits_do_not_depend_on_who_made_the_processor(here: dict[str, Any], tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = tmp_path / "intel.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=AS_INTEL, text=True, check=True)

    elsewhere = program(tmp_path, {"LD_PRELOAD": str(library)})

    assert elsewhere["digests"] == here["digests"]


def test_the_workers_of_a_portable_sweep_compute_portably(here: dict[str, Any], tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in instructions.EVERYWHERE}
    words = ["-m", "numerics=portable", "seed=range(4)", "sweep.processes=2", "sweep.block=2", *SHORT]
    command = [sys.executable, "-m", "shoal.cli", "train", *words, "hydra.sweep.dir=sweep"]
    alone = [sys.executable, "-m", "shoal.cli", "train", "numerics=portable", "seed=3", "engine=vectorized", *SHORT]

    for line in (command, [*alone, "hydra.run.dir=alone"]):
        done = subprocess.run(line, env=kept, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    swept = [read_info(path) for path in sorted((tmp_path / "sweep").glob("*/run.json"))]
    run = read_info(tmp_path / "alone" / "run.json")
    assert len(swept) == 4
    assert all(info.instructions == run.instructions and info.numerics == "portable" for info in swept)
    assert run.instructions["mkl"] == "COMPATIBLE"
    assert swept[3].final["val/loss"] == run.final["val/loss"]
