"""Environments of peers: found when complete, and a clear word when they can't be made."""

import json
import subprocess

import pytest
from interop.environment import PEERS, EnvironmentUnavailable, Peer

from interop import environment


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "FOLDER", tmp_path / "peers")
    return tmp_path / "peers"


class Steps:
    """Stands in for the programs that build; fails at the step that contains `bad`."""

    def __init__(self, bad=""):
        self.bad = bad
        self.argvs = []

    def __call__(self, argv, **options):
        self.argvs.append(argv)
        if "venv" in argv:
            python = environment.Path(argv[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch()
        failed = bool(self.bad) and self.bad in argv
        return subprocess.CompletedProcess(argv, int(failed), "no route to host\n")


def test_an_environment_is_made_once(folder, monkeypatch):
    steps = Steps()
    monkeypatch.setattr(environment.subprocess, "run", steps)
    python = environment.python_of("moq-rs")
    assert python == folder / "moq-rs" / "bin" / "python"
    assert environment.python_of("moq-rs") == python
    assert len(steps.argvs) == 3
    assert set(PEERS["moq-rs"].requirements) <= set(steps.argvs[1])


def test_an_unreachable_registry_is_said_and_leaves_nothing_half_made(folder, monkeypatch):
    monkeypatch.setattr(environment.subprocess, "run", Steps(bad="pip"))
    with pytest.raises(EnvironmentUnavailable, match=r"(?s)is the registry reachable.*no route"):
        environment.python_of("moq-rs")
    assert environment.built("moq-rs") is None


def test_other_requirements_make_it_anew(folder, monkeypatch):
    steps = Steps()
    monkeypatch.setattr(environment.subprocess, "run", steps)
    environment.python_of("moq-rs")
    (folder / "moq-rs" / environment.STAMP).write_text(json.dumps(["moq-rs==0.0.1"]))
    assert environment.built("moq-rs") is None
    environment.python_of("moq-rs")
    assert len(steps.argvs) == 6


def test_a_peer_that_needs_a_newer_python_says_so(folder, monkeypatch):
    peer = Peer("new", ("new==1",), "new", (4, 0))
    monkeypatch.setitem(environment.PEERS, "new", peer)
    with pytest.raises(EnvironmentUnavailable, match=r"needs Python 4\.0 or newer"):
        environment.python_of("new")


def test_a_python_that_does_not_run_is_not_the_one(folder, monkeypatch, tmp_path):
    """A version manager has words on the path for versions that are not chosen."""
    for minor, status in ((90, 127), (91, 0)):
        python = tmp_path / f"python3.{minor}"
        python.write_text(f"#!/bin/sh\nexit {status}\n")
        python.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    peer = Peer("new", ("new==1",), "new", (3, 90))
    assert environment._interpreter(peer) == str(tmp_path / "python3.91")


def test_an_unknown_peer_is_named_with_those_there_are():
    with pytest.raises(EnvironmentUnavailable, match="no peer 'x'; there are aiomoqt, moq-rs, npm"):
        environment.python_of("x")


def test_packages_for_node_are_installed_once_at_their_versions(folder, monkeypatch):
    steps = Steps()
    monkeypatch.setattr(environment.subprocess, "run", steps)
    monkeypatch.setattr(environment.shutil, "which", lambda name: f"/bin/{name}")
    modules = environment.modules_of("npm")
    modules.mkdir(exist_ok=True)  # npm would have
    assert environment.modules_of("npm") == modules == folder / "npm" / "node_modules"
    assert [argv[0] for argv in steps.argvs] == ["npm", "node"]
    assert set(PEERS["npm"].requirements) <= set(steps.argvs[0])
    assert "--ignore-scripts" in steps.argvs[0]


def test_a_peer_for_node_says_what_is_missing(folder, monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda _: None)
    with pytest.raises(EnvironmentUnavailable, match="npm needs node, which is not on the path"):
        environment.modules_of("npm")
