"""A cheap start changes nothing but the time."""

from __future__ import annotations

import gc
import inspect
import json
import os
import subprocess
import sys
import time
from gc import freeze, get_freeze_count, unfreeze
from pathlib import Path
from typing import Any

import pytest

import shoal
from checkout import SUPPORT
from shoal.config.folders import is_missing
from shoal.startup import cheap_imports, torch_library

PROGRAM = SUPPORT / "programs" / "after_training.py"
NOT_TO_BE_LOADED = frozenset(
    {
        "sympy",
        "torch._dynamo.eval_frame",
        "torch._inductor",
        "torch.distributed.fsdp",
        "torch.distributed.tensor",
        "torch.export.graph_signature",
        "torch.onnx",
        "torch._prims",
        "torchgen.utils",
        "scipy.signal.windows",
        "scipy.optimize._minimize",
        "scipy.stats",
        "onnx",
    }
)
"""What only compiling, deriving formulas, several processes or a format of files takes."""


def reported(switch: str) -> dict[str, Any]:
    env = os.environ | {"SHOAL_EAGER_IMPORTS": switch, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(PROGRAM)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.long
def test_deferred_imports_change_nothing_that_follows_a_training() -> None:
    deferred, plain = reported("0"), reported("1")

    assert [each.pop("compiler_loaded") for each in (deferred, plain)] == [False, True]
    assert [each.pop("sympy_loaded") for each in (deferred, plain)] == [False, True]
    assert [each.pop("mapped_loads") for each in (deferred, plain)] == [False, True]
    assert "failed" not in plain.values()
    assert len(plain) > 12
    assert deferred == plain


def test_commands_for_what_was_trained_load_no_more_than_its_training(tmp_path: Path) -> None:
    shoal.train(["task=parabola", "trainer.max_epochs=1", "callbacks=quiet", f"hydra.run.dir={tmp_path / 'run'}"])
    (tmp_path / "t.csv").write_text("x,y\n1,1\n2,2.1\n3,2.9\n")
    env = os.environ | {"SHOAL_EAGER_IMPORTS": "0"}

    program = str(SUPPORT / "programs" / "commands.py")
    done = subprocess.run([sys.executable, program], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    loaded = {name for names in json.loads(done.stdout).values() for name in names}
    assert "torch" in loaded
    assert loaded & NOT_TO_BE_LOADED == set()


def test_a_frame_is_told_without_its_text_within_cheap_imports_alone() -> None:
    frame = sys._getframe()

    with cheap_imports():
        within, asked = inspect.getframeinfo(frame), inspect.getframeinfo(frame, 1 + 1)
    after = inspect.getframeinfo(frame)

    assert (within.filename, within.function, within.code_context) == (after.filename, after.function, None)
    assert [len(each.code_context or ()) for each in (asked, after)] == [2, 1]


def test_a_frame_has_the_same_module_within_cheap_imports_as_after() -> None:
    nowhere: dict[str, Any] = {"sys": sys, "__name__": __name__}  # another module's name, as code of `exec` may have
    exec("frame = sys._getframe()", nowhere)
    frames = [sys._getframe(), nowhere["frame"], gc]

    with cheap_imports():
        within = [inspect.getmodule(each) for each in frames]
    after = [inspect.getmodule(each) for each in frames]

    assert within == after
    assert within[0] is sys.modules[__name__]


def test_what_was_alive_is_collected_after_cheap_imports_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for real in (freeze, get_freeze_count, unfreeze):  # as they are without the tests' own shortcut
        monkeypatch.setattr(gc, real.__name__, real)
    cycle: list[Any] = []
    cycle.append(cycle)
    before = gc.get_freeze_count()

    with cheap_imports():
        pass

    assert gc.isenabled()
    assert gc.get_freeze_count() <= before  # of what was spared before, something may have gone meanwhile
    assert any(each is cycle for each in gc.get_objects())  # which leaves out what is spared
    assert before or any(each is cycle for each in gc.get_objects(generation=2))


def test_a_package_that_cannot_be_imported_raises_whenever_it_is_asked(tmp_path: Path) -> None:
    broken = tmp_path / "torch" / "_dynamo"
    broken.mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "torch" / "_compile.py").write_text("import torch._dynamo\n")
    (broken / "__init__.py").write_text("raise ImportError('broken')\n")
    program = tmp_path / "program.py"
    program.write_text(
        "from shoal.startup import cheap_imports\n"
        "with cheap_imports():\n"
        "    import torch._compile\n"
        "for _ in range(2):\n"
        "    try:\n"
        "        torch._dynamo.config\n"
        "    except ImportError as error:\n"
        "        print(error)\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}

    done = subprocess.run([sys.executable, str(program)], env=env, capture_output=True, text=True, check=False)

    assert done.stdout.splitlines() == ["broken", "broken"], done.stderr


def test_the_library_of_torch_is_there_when_the_wait_for_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(torch_library, "_thread", None)
    monkeypatch.setattr(torch_library, "_library", lambda: "a library")
    monkeypatch.setattr(torch_library, "_load", lambda path: time.sleep(0.05) or loaded.append(path))

    torch_library.load()
    torch_library.wait()

    assert loaded == ["a library"]


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("task=parabla", True),
        ("task=parabola +optimizer=adamm", True),
        ("task=parabola scheduler=null seed=1", False),
        ("task=own", False),
        ("experiment=parabla task=a,b outputs=parabla", False),
    ],
)
def test_of_a_choice_that_lies_nowhere_nothing_of_torch_is_loaded(
    words: str, *, missing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "conf" / "task" / "own.yaml"
    own.parent.mkdir(parents=True)
    own.touch()
    monkeypatch.chdir(tmp_path)

    assert is_missing(words.split(), None) is missing
    assert is_missing(words.split(), str(tmp_path / "conf")) is missing


def test_a_process_that_leaves_ends_its_threads_and_flushes_what_it_said() -> None:
    program = (
        "import atexit, threading, time\n"
        "from shoal.startup.leaving import leave\n"
        "atexit.register(print, 'at exit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\n"
        "leave(3)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.split("\n"), done.stderr) == (3, ["thread", "at exit", ""], "")


def test_nothing_that_is_imported_beside_the_library_of_torch_waits_for_it() -> None:
    program = (
        "import importlib.machinery, sys\n"
        "import shoal.app.train\n"
        "from shoal.startup.torch_library import WITH_LIBRARIES\n"
        "for name in WITH_LIBRARIES: __import__(name)\n"
        "before = set(sys.modules)\n"
        "import shoal.app.start\n"
        "loaders = {name: getattr(sys.modules[name], '__loader__', None) for name in set(sys.modules) - before}\n"
        "library = importlib.machinery.ExtensionFileLoader\n"
        "print(*(name for name, each in loaders.items() if isinstance(each, library)))\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
