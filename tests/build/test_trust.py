"""A run directory from a stranger is data: nothing in it is executed, and nothing outside it is touched."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import shoal
from runs import make_sweep
from shoal.app.resume import resume
from shoal.app.start import start
from shoal.errors import ConfigError, DamagedError, ShoalError, UsageError
from shoal.rundir import RunDir, read_config, read_sweep, sealed, verify, write_config

pytestmark = pytest.mark.usefixtures("undrawn")


TARGETS = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "shoal.record.environment.subprocess.Popen",
    "shoal.tasks.supervised.pl.Trainer",
    "shoal.record.loggers.recorder.Recorder",
    "torch.nn.modules.module.Any",
    "torch.nn.functional.torch.load",
    "torch.load",
    "torch.hub.load",
    "torch.utils.cpp_extension.load",
    "pytorch_lightning.callbacks.ModelCheckpoint",
    "pytorch_lightning.callbacks.LambdaCallback",
    "pytorch_lightning.loggers.CSVLogger",
    "pytorch_lightning.Trainer.fit",
    "shoal.tasks._private.Task",
    "shoal.tasks",
    "",
    "...",
    "hostile.Task",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "run"
    start(["task.n_samples=32", "task.batch_size=null", "trainer.max_epochs=1", f"hydra.run.dir={path}"])
    return path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> RunDir:
    import shutil

    shutil.copytree(trained, tmp_path / "outputs" / "run")
    return RunDir(tmp_path / "outputs" / "run")


@pytest.fixture(autouse=True)
def hostile_module(workdir: Path) -> Iterator[None]:
    """A module in the working directory that leaves a mark when it is imported."""
    (workdir / "hostile.py").write_text("import pathlib; pathlib.Path('executed').touch()\n")
    yield
    assert not (workdir / "executed").exists()


@pytest.mark.parametrize("place", ["task", "model", "optimizer", "callbacks.extra", "trainer.profiler", "deep"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_class_that_is_not_on_the_list_is_refused_before_it_is_imported(target: str, place: str, run: RunDir) -> None:
    config: Any = read_config(run.config)
    node = {"_target_": target, "args": "touch executed", "command": "touch executed"}
    group, _, name = place.partition(".")
    if place == "deep":
        config["task"]["domain"] = [[{"x": node}]]
    elif name:
        config[group][name] = node
    else:
        config[group] = node
    write_config(run.config, config)

    for use in (shoal.load, resume):
        with pytest.raises(UsageError) as refused:
            use(run.path)

    assert "a run directory may only name classes of shoal, torch and Lightning" in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 3


@pytest.mark.parametrize("given", ["activation", "_args_"])
@pytest.mark.parametrize("path", ["os.system", "hostile.mark", "torch.nn.functional.torch.load"])
def test_a_function_that_a_setting_names_is_refused_before_it_is_imported(path: str, given: str, run: RunDir) -> None:
    config: Any = read_config(run.config)
    node: dict[str, Any] = {"_target_": "torch.nn.TransformerEncoderLayer"}
    by_name = {"d_model": 2, "nhead": 1, "activation": path}
    config["model"] = node | (by_name if given == "activation" else {"_args_": [2, 1, 4, 0.0, path]})
    write_config(run.config, config)

    for use in (lambda path: shoal.load(path).job, lambda path: resume(path, ["trainer.max_epochs=2"])):
        with pytest.raises(UsageError, match=rf"model\.activation={path}: a run directory may only name"):
            use(run.path)


def test_a_run_with_a_loss_of_torch_is_no_stranger(run: RunDir) -> None:
    config = read_config(run.config)
    config["loss"] = {"_target_": "torch.nn.functional.huber_loss", "delta": 2.0}
    write_config(run.config, config)

    assert shoal.load(run.path).job.loss(torch.ones(1), torch.zeros(1)) == 0.5


def test_a_class_is_built_only_in_the_place_of_its_kind(run: RunDir) -> None:
    config = read_config(run.config)
    config["callbacks"]["extra"] = {"_target_": "torch.nn.Linear", "in_features": 10**6, "out_features": 10**6}
    write_config(run.config, config)

    with pytest.raises(ConfigError, match="is not a Lightning Callback"):
        _ = shoal.load(run.path).job


def test_loggers_are_nothing_to_trust_until_a_run_goes_on(run: RunDir) -> None:
    config = read_config(run.config)
    config["logger"] = {"csv": {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "elsewhere"}}
    write_config(run.config, config)

    loaded = shoal.load(run.path)

    assert (len(loaded.predict([0.5])), loaded.job.loggers) == (1, {})
    with pytest.raises(UsageError, match=r"logger\.csv\._target_=.*that write no files"):
        resume(run.path, ["trainer.max_epochs=2"])


def test_a_module_that_is_trusted_by_name_is_used(run: RunDir, workdir: Path) -> None:
    (workdir / "friendly.py").write_text(
        "from dataclasses import dataclass\nfrom shoal.tasks import Parabola\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Mine(Parabola):\n    pass\n"
    )
    config = read_config(run.config)
    config["task"]["_target_"] = "friendly.Mine"
    write_config(run.config, config)

    assert len(shoal.load(run.path, trusted=["friendly"]).predict([0.5])) == 1


class Bomb:
    """Executes a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch executed",)


def pickled(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Bomb()),
        pickled({"state_dict": Bomb()}),
        sealed(pickled({"state_dict": Bomb()})),
        sealed(pickled(Bomb())),
        sealed(pickled([1, 2])),
        sealed(pickled({"state_dict": {}})),
        b"",
        b"PK\x05\x06" + bytes(18),
    ],
    ids=["pickle", "unsealed", "sealed in state", "sealed", "list", "empty state", "empty", "empty archive"],
)
def test_a_checkpoint_that_is_no_state_is_refused_and_never_executed(content: bytes, run: RunDir) -> None:
    for file in (run.last, run.best):
        file.unlink()
        file.write_bytes(content)

    with pytest.raises(ShoalError) as refused:
        shoal.load(run.path).predict([0.5])
    with pytest.raises(ShoalError):
        resume(run.path, ["trainer.max_epochs=2"])

    assert len(str(refused.value).splitlines()) <= 3


def test_a_checkpoint_with_a_forged_archive_is_refused(run: RunDir) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
        archive.writestr("archive/version", "3")
    run.best.unlink()
    run.best.write_bytes(sealed(buffer.getvalue()))

    with pytest.raises(DamagedError):
        shoal.load(run.path).predict([0.5])


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: " + "[" * 100_000,
        "{a: " * 5000,
        "a: !!python/object/apply:os.system ['touch executed']",
        "!!python/object/new:os.system ['touch executed']",
        "a: " + "x" * 5_000_000,
        "- 1",
        "",
        "\0",
        "a: &a\n  b: *a",
        yaml.safe_dump({"task": 1}) + "\x1b]0;title\x07",
    ],
    ids=["alias bomb", "deep list", "deep mapping", "apply", "new", "huge", "list", "empty", "zero", "loop", "escape"],
)
def test_a_configuration_file_that_is_a_trap_is_refused(text: str, run: RunDir) -> None:
    run.config.write_text(text, encoding="utf-8")

    with pytest.raises(DamagedError) as refused:
        shoal.load(run.path)

    assert len(str(refused.value).splitlines()) <= 3
    assert len(str(refused.value)) < 1000


def test_what_is_read_again_of_a_configuration_has_no_references(tmp_path: Path) -> None:
    shared = [1, 2]

    write_config(tmp_path / "config.yaml", {"a": shared, "b": shared})

    assert "*" not in (tmp_path / "config.yaml").read_text()
    assert read_config(tmp_path / "config.yaml") == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize("name", ["../../victim", "/etc", "..", ".", "", "a/b", "a\\0b"])
def test_a_sweep_that_names_a_folder_outside_itself_is_refused(name: str, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "outputs", {"seed": [0, 1]})
    content = json.loads(sweep.info.read_text())
    content["jobs"][1]["run"] = name.replace("\\0", "\0")
    sweep.info.write_text(json.dumps(content))

    with pytest.raises(DamagedError, match="is no folder of this sweep"):
        read_sweep(sweep.info)


def test_a_digest_of_a_file_outside_the_run_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link").symlink_to(tmp_path / "secret")
    seals = {name: {"sha256": "0", "bytes": 6} for name in ("../secret", "link", str(tmp_path / "secret"))}

    assert set(verify(tmp_path / "run", seals).values()) == {"not in the run"}
