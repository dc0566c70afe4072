#!/usr/bin/env bash
# With the callback SpikeDetection no training goes on: loading the state that it has saved raises AttributeError, since it asks
# for an attribute `running`, and the callback has `running_mean`. What it has seen of the losses is not in the checkpoint either.
# In shoal: the name is there while states are loaded, and the losses are in the checkpoint.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
${PYTHON:-python3} -m venv env && env/bin/python -m pip install --quiet --disable-pip-version-check \
  torch==2.13.0 pytorch-lightning==2.6.6 numpy==2.4.6 || exit 2
unset ${!SLURM_@} LOCAL_RANK RANK

cat > fit.py <<'PYTHON'
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import SpikeDetection
from torch.utils.data import DataLoader


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 4)

    def training_step(self, batch):
        return (self.layer(batch) - batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trained(epochs, **given):
    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", devices=1, max_epochs=epochs, callbacks=[SpikeDetection()], **off)
    trainer.fit(Line(), DataLoader(torch.linspace(0, 1, 8)[:, None], batch_size=4), **given)
    return trainer


trained(1).save_checkpoint("one.ckpt")
try:
    trained(2, ckpt_path="one.ckpt")
    print("goes on")
except AttributeError as error:
    print(f"AttributeError: {error}")
PYTHON
echo "pytorch-lightning 2.6.6"
found=$(env/bin/python fit.py 2>/dev/null); echo "a training of two epochs from the checkpoint of one: $found"
[ "$found" = "AttributeError: 'SpikeDetection' object has no attribute 'running'" ] || { echo "changed"; exit 1; }
