#!/usr/bin/env bash
# With precision="64-true", EMAWeightAveraging and the other callbacks that average weights keep the average in float32: they
# copy the module before the Trainer makes it double. The weights that the training ends with are rounded to float32.
# In shoal: the module is double before callbacks are told of it.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
${PYTHON:-python3} -m venv env && env/bin/python -m pip install --quiet --disable-pip-version-check \
  torch==2.13.0 pytorch-lightning==2.6.6 numpy==2.4.6 || exit 2
unset ${!SLURM_@} LOCAL_RANK RANK

cat > fit.py <<'PYTHON'
import sys

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch.utils.data import DataLoader


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 4)

    def training_step(self, batch):
        return (self.layer(batch) - batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


torch.manual_seed(0)
module = Line().double() if "double" in sys.argv else Line()
off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
callbacks = [EMAWeightAveraging(decay=0.5)] if "average" in sys.argv else []
trainer = pl.Trainer(accelerator="cpu", devices=1, max_epochs=3, precision="64-true", callbacks=callbacks, **off)
trainer.fit(module, DataLoader(torch.linspace(0, 1, 8, dtype=torch.float64)[:, None], batch_size=4))
weight = module.layer.weight.detach()
print(weight.dtype, "all of them float32 numbers" if torch.equal(weight, weight.float().double()) else "in full precision")
PYTHON
echo "pytorch-lightning 2.6.6"
without=$(env/bin/python fit.py 2>/dev/null); echo "without averages: $without"
average=$(env/bin/python fit.py average 2>/dev/null); echo "averaged: $average"
double=$(env/bin/python fit.py average double 2>/dev/null); echo "averaged, of a module that was double before: $double"
[ "$without" = "torch.float64 in full precision" ] && [ "$double" = "$without" ] \
  && [ "$average" = "torch.float64 all of them float32 numbers" ] || { echo "changed"; exit 1; }
