"""`lightning` and `pytorch_lightning` are one, whichever of them is installed or comes first."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import pytorch_lightning as pl

import shoal
from own_runs import SAMPLES, write_task
from shoal.aliases import canonical

ALONE, WITHIN = ("pytorch_lightning", "lightning_fabric"), ("lightning/pytorch", "lightning/fabric")
MODULE = """
import lightning as L
import torch

class Line(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
"""


def test_lightning_is_pytorch_lightning_though_it_is_not_installed() -> None:
    import lightning as L
    from lightning.pytorch.callbacks import EarlyStopping

    assert (L.LightningModule, L.pytorch, L.__version__) == (pl.LightningModule, pl, pl.__version__)
    assert EarlyStopping is pl.callbacks.EarlyStopping
    assert pl.callbacks.__spec__.name == "pytorch_lightning.callbacks"


def test_a_folder_called_lightning_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lightning" / "20261128").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lightning", raising=False)

    assert import_module("lightning").LightningModule is pl.LightningModule


def test_what_neither_of_them_has_cannot_be_imported() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"lightning\.pytorch\.nothing"):
        import_module("lightning.pytorch.nothing")
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from lightning import nothing  # noqa: F401


@pytest.mark.usefixtures("undrawn")
def test_a_module_and_callbacks_of_lightning_train(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(workdir)
    Path("lines.py").write_text(MODULE)
    write_task("line", "Plain", SAMPLES)
    stopping = "{_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: train_loss, patience: 1, min_delta: 9}"

    run = shoal.train(["task=line", "task.module._target_=lines.Line", f"+callbacks.stopping={stopping}"])

    assert run.info.epochs == 2
    assert shoal.load(run.path, trusted=["lines"]).predict is not None


@pytest.mark.parametrize(
    ("installed", "first", "home", "same"),
    [
        (ALONE, "", "pytorch_lightning", True),
        (WITHIN, "", "lightning.pytorch", True),
        (ALONE + WITHIN, "", "pytorch_lightning", True),
        (ALONE + WITHIN, "import lightning.pytorch", "lightning.pytorch", True),
        (ALONE + WITHIN, "import pytorch_lightning", "pytorch_lightning", True),
        (ALONE + WITHIN, "import lightning.pytorch, pytorch_lightning", "pytorch_lightning", False),
    ],
)
def test_both_names_lead_to_the_lightning_that_is_there(
    installed: tuple[str, ...], first: str, home: str, same: bool, tmp_path: Path
) -> None:
    for name in installed:
        folder = tmp_path / name
        (folder / "callbacks").mkdir(parents=True)
        (folder / "__init__.py").write_text("class LightningModule: ...")
        (folder / "callbacks/__init__.py").write_text("from .. import LightningModule")
        if folder.parent != tmp_path:
            (folder.parent / "__init__.py").touch()
    program = f"""
{first}
import shoal
import lightning.pytorch.callbacks as one
import pytorch_lightning.callbacks as other
from shoal.aliases import of_the_other
print(other.LightningModule.__module__, one is other, of_the_other(one.LightningModule))
"""

    path = [str(tmp_path), str(Path(shoal.__file__).parents[1])]
    program = f"import sys; sys.path[:0] = {path}\n{program}"
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout.split() == [home, str(same), str(None if same else "lightning")], done.stderr


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("lightning.pytorch.callbacks.Timer", "pytorch_lightning.callbacks.Timer"),
        ("lightning.Trainer", "pytorch_lightning.Trainer"),
        ("lightning.fabric.Fabric", "lightning_fabric.Fabric"),
        ("lightning_utilities.core", "lightning_utilities.core"),
        ("torch.nn.Linear", "torch.nn.Linear"),
    ],
)
def test_a_name_of_lightning_is_trusted_as_the_one_of_pytorch_lightning(path: str, name: str) -> None:
    assert canonical(path) == name
