"""What is installed is whole: the wheel brings the configurations, the lock fits every machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from checkout import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network from the packages that are installed."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What is in the source distribution."""
    folder = tmp_path_factory.mktemp("source")
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel in it, which borrows the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    return folder / "bin"


def lock() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_wheel_carries_every_configuration_and_no_test(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    assert {f"shoal/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")} <= names
    assert {f"shoal/{path.relative_to(ROOT)}" for path in (ROOT / "experiments").glob("*.yaml")} <= names
    assert {"shoal/py.typed", "shoal/cli/__init__.py"} <= names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "src", "conf"))]


def test_wheel_and_source_carry_the_files_that_are_not_python(wheel: Path, source: set[str]) -> None:
    package = ROOT / "src" / "shoal"
    files = {
        f"shoal/{path.relative_to(package)}" for path in package.rglob("*.*") if path.suffix not in (".py", ".pyc")
    }

    assert "shoal/tasks/tables/iris.csv" in files
    assert files <= set(zipfile.ZipFile(wheel).namelist())
    assert {f"src/{name}" for name in files} <= source


def test_the_source_distribution_has_what_its_own_tests_need(source: set[str]) -> None:
    needed = {"Makefile", "README.md", "requirements.lock", "mkdocs.yml", "train.py", "tests/conftest.py", ".ci/lock"}

    assert needed <= source


def test_hydra_finds_plugins_of_others_beside_those_of_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert "hydra_plugins/__init__.py" not in names


def test_an_installed_wheel_trains_from_an_empty_directory(installed: Path, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSTARTUP")}

    where = subprocess.run(
        [installed / "python", "-c", "import shoal; print(shoal.__file__)"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    done = subprocess.run(
        [installed / "shoal", "train", "task=parabola", "trainer.max_epochs=1"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert where.startswith(str(installed.parent))
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("outputs/parabola/*/run.json"))) == 1


@pytest.mark.parametrize("extra", [None, "test", "export", "optuna", "docs", "benchmark"])
def test_the_lock_has_a_version_for_every_dependency_within_its_bounds(extra: str | None) -> None:
    listed = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    wanted = [Requirement(text) for text in listed]
    versions = {canonicalize_name(name): version for name, version in lock().items()}

    outside = [
        str(one) for one in wanted if one.name != "shoal" and versions[canonicalize_name(one.name)] not in one.specifier
    ]

    assert outside == []


def test_the_lock_names_no_machine_and_no_gpu_vendor() -> None:
    text = (ROOT / "requirements.lock").read_text()

    assert lock()["torch"] == "2.13.0"
    assert not [word for word in ("nvidia", "cuda", "triton", "+cpu", "file:", "://", " @ ") if word in text]


def test_make_says_in_one_line_that_python_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\ncase $1 in -V) echo Python 3.9.18;; *) exit 1;; esac\n")
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())

    done = subprocess.run(["make", "demo", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, check=False)

    told = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode != 0
    assert told == [f"error: shoal needs Python 3.11 or newer, {old} is Python 3.9.18; try: make PYTHON=python3.12"]
    assert not (tmp_path / ".venv").exists()
