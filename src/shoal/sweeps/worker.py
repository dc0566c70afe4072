"""A worker behind any command that carries standard input and output: `python -m shoal.sweeps.worker`.

Its launcher says first where and how to work. Standard output is the channel; what the user's code prints goes to
standard error.
"""

from __future__ import annotations

import os
import sys
from multiprocessing.connection import Connection

from shoal.engines import srun
from shoal.sweeps.links import MARK, Surroundings
from shoal.sweeps.serving import serve


def main() -> None:
    """Serve the launcher at the other end of standard input and output."""
    inbox, outbox = Connection(os.dup(0), writable=False), Connection(os.dup(1), readable=False)
    # What the user's code reads and prints must find other files there than the channel.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    os.write(outbox.fileno(), MARK)
    # It trains by itself: by srun's variables Lightning would take it for one of several processes.
    srun.forget_step()
    try:
        surroundings: Surroundings = inbox.recv()
    except EOFError:
        return
    try:
        own = surroundings.enter()
    except OSError as error:
        sys.exit(f"cannot enter the launcher's directory: {error}")
    serve(inbox, outbox, own)


if __name__ == "__main__":
    main()
