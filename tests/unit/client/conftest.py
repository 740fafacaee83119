import logging
import sys
import threading
import types
import warnings

import pytest

from moqvox_client import verbs
from moqvox_client.logs import _Stderr


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch, tmp_path_factory):
    """Give each test an environment without MOQVOX_ and take back what logging set up."""
    import os

    for name in [name for name in os.environ if name.startswith("MOQVOX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    hooks = threading.excepthook, sys.unraisablehook, warnings.showwarning
    root = logging.getLogger()
    level = root.level
    yield
    logging.captureWarnings(False)
    threading.excepthook, sys.unraisablehook, warnings.showwarning = hooks
    for handler in [h for h in root.handlers if isinstance(h, _Stderr)]:
        root.removeHandler(handler)
    root.setLevel(level)
    logging.getLogger("moqvox").setLevel(logging.NOTSET)


@pytest.fixture
def add_verb(monkeypatch):
    """Register a verb made of a test's own Options and run."""

    def add(name, options, run, **names):
        module = types.ModuleType(f"moqvox_client.verbs.{name}")
        vars(module).update(Options=options, run=run, **names)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(verbs.VERBS, name, f"test the verb {name}")

    return add
