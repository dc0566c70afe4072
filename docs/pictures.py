"""Make the pictures of the README and the gallery, by `make pictures`; that of TensorBoard needs Chromium, Selenium.

python docs/pictures.py [NAME OF A PICTURE OF THE GALLERY ...]
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

import shoal

DOCS = Path(__file__).parent
IMAGES = DOCS / "images"
SHOWN = re.compile(r"```text\n(.*?)```\s+!\[[^]]*\]\(images/gallery/(\w+)\.png\)", re.DOTALL)
"""On the page of the gallery: commands, and the picture they leave behind."""
BROWSER = (
    "--headless",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def main() -> None:
    """Make the pictures that are named, else all."""
    if not sys.argv[1:]:
        readme()
    (IMAGES / "gallery").mkdir(parents=True, exist_ok=True)
    for commands, name in SHOWN.findall((DOCS / "gallery.md").read_text(encoding="utf-8")):
        if name in (sys.argv[1:] or [name]):
            with tempfile.TemporaryDirectory() as folder:
                shutil.copyfile(left_behind(commands, Path(folder)), IMAGES / "gallery" / f"{name}.png")


def left_behind(commands: str, folder: Path) -> Path:
    """The last picture of the run or the sweep that these commands make in a folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["sh", "-e", "-c", commands], cwd=folder, env={**os.environ, "PATH": path}, check=True)
    found = list(folder.rglob("figures/*.png"))
    return min(found, key=lambda each: (len(each.parts), -each.stat().st_mtime))


def readme() -> None:
    """Train the parabola with three optimizers and as a sweep, and take the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        for optimizer in ("adam", "rmsprop", "sgd"):
            run = shoal.train([f"outputs={folder}", f"hydra.run.dir={folder}/{optimizer}", f"optimizer={optimizer}"])
            if optimizer == "adam":
                shutil.copyfile(run.directory.fit_figure, IMAGES / "fit.png")
        photograph(Path(folder), IMAGES / "tensorboard.png")
        swept(Path(folder) / "sweep", IMAGES / "sweep.png")


def swept(folder: Path, picture: Path) -> None:
    """The figure of the sweep that the README shows."""
    words = ["-m", "task=parabola", "optimizer.lr=1e-3,1e-2,1e-1", "seed=range(16)", f"hydra.sweep.dir={folder}"]
    subprocess.run([sys.executable, "-m", "shoal.cli", "train", *words], check=True)
    shutil.copyfile(folder / "figures" / "sweep.png", picture)


def photograph(folder: Path, picture: Path) -> None:
    """A screenshot of TensorBoard's scalars for the runs in `folder`."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/data/runs")
        options = webdriver.ChromeOptions()
        for word in (*BROWSER, "--window-size=1500,780"):
            options.add_argument(word)
        with webdriver.Chrome(options, Service(shutil.which("chromedriver"))) as browser:
            browser.get(f"http://127.0.0.1:{port}/?darkMode=false&tagFilter=%5E(train%7Cval)#timeseries")
            time.sleep(8)  # the curves are drawn by a worker that tells nobody when it has done so
            browser.save_screenshot(str(picture))
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(address: str, seconds: float = 60) -> None:
    """Return when something answers at `address`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"nothing answers at {address}")


if __name__ == "__main__":
    main()
