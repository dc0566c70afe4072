#!/usr/bin/env bash
# self.log(..., sync_dist=True) in two processes whose shares of the validation samples differ, 5 and 4 of 9: Lightning
# divides the sum by the mean number of samples of a process, which it rounds down from 4.5 to 4. The mean of 0 to 8 is
# then 4.5. Lightning's own sampler hides it by giving one sample twice, which makes the mean another one. It is known as
# Lightning's issue 21859.
# In shoal: shares differ by one sample at most, none is given twice, and whole numbers are averaged as floats.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
${PYTHON:-python3} -m venv env && env/bin/python -m pip install --quiet --disable-pip-version-check \
  torch==2.13.0 pytorch-lightning==2.6.6 numpy==2.4.6 || exit 2
unset ${!SLURM_@} LOCAL_RANK RANK

cat > mean.py <<'PYTHON'
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset


class Mean(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def val_dataloader(self):
        share = torch.arange(9.0)[self.trainer.global_rank :: 2]
        return DataLoader(TensorDataset(share), batch_size=5)

    def validation_step(self, batch):
        self.log("mean", batch[0].mean(), sync_dist=True, batch_size=len(batch[0]))


off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", use_distributed_sampler=False, **off)
[found] = trainer.validate(Mean(), verbose=False)
if trainer.is_global_zero:
    print(f"the mean of 0, 1, ..., 8 in two processes: {found['mean']:g}")
PYTHON
echo "pytorch-lightning 2.6.6"
said=$(env/bin/python mean.py 2>errors.txt) || { cat errors.txt; echo "changed: it does not measure"; exit 1; }
echo "$said"
[ "$said" = "the mean of 0, 1, ..., 8 in two processes: 4.5" ] || { echo "changed"; exit 1; }
