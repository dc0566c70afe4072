"""metrics.csv grows with its run, and says what it was before."""

from __future__ import annotations

import hashlib
from pathlib import Path

from shoal.rundir import History


def test_the_digest_of_the_first_rows_is_what_the_file_had_then(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv")
    # A new column, which changes all lines; two rows at once; and a cell that is left out.
    rows = [{"loss": 0.1}, {"loss": 1 / 3, "lr": 1e-3}, {"val/loss": 2e-9, "loss": 7.0, "lr": 1e-3}, {"lr": 1e-4}]
    then = {}
    for n, row in enumerate(rows, 1):
        history.add({"step": n * 13, "epoch": n - 1, **row})
        if n != 3:
            history.flush()
            then[n] = hashlib.sha256(history.path.read_bytes()).hexdigest()

    found = {n: history.digest_at(n) for n in then}

    assert found == then
    assert history.digest() == then[4]


def test_the_digest_of_rows_that_wait_is_that_of_the_file_to_come(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv")
    history.add({"step": 13, "epoch": 0, "loss": 0.1})
    history.flush()
    history.add({"step": 26, "epoch": 1, "loss": 0.2})

    found = history.digest_at(2)

    history.flush()
    assert found == hashlib.sha256(history.path.read_bytes()).hexdigest() == history.digest()
