"""The command as a user meets it: exit codes, messages, no tracebacks."""

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest

from moqvox_client.__main__ import main
from moqvox_client.errors import Failed, UsageError
from moqvox_client.options import Argument, Flag, Shared
from moqvox_client.verbs import VERBS

ROOT = Path(__file__).parents[3]


class Options(Shared, frozen=True, kw_only=True):
    name: Annotated[str, Argument("whom to greet")]
    loud: Annotated[bool, Flag("shout")] = False
    quiet: Annotated[bool, Flag("whisper")] = True
    times: Annotated[int, Flag("how often, 100% sure")] = 1


@pytest.fixture
def run(add_verb, capsys):
    """Run one command line with the verb `toy` made of `body`."""

    def run(line, body=lambda options, output: 0):
        add_verb("toy", Options, body, EXAMPLES="moqvox toy me")
        code = main(line.split())
        out, err = capsys.readouterr()
        assert "Traceback" not in err or "-v" in line
        return code, out, err

    return run


def raising(exc):
    def body(options, output):
        raise exc

    return body


def test_version_is_one_line(run):
    code, out, err = run("--version")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"moqvox \S+.*\n", out)


def test_help_lists_every_verb_with_a_line(run):
    code, out, _ = run("--help")
    assert code == 0
    for name, summary in VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", out, re.MULTILINE)


@pytest.mark.parametrize("line", ["toy --help", "toy -h", "help toy", "toy x --help --json"])
def test_help_of_a_verb_has_summary_arguments_flags_and_examples(run, line):
    code, out, err = run(line)
    assert (code, err) == (0, "")
    assert out.startswith("usage: moqvox toy NAME [--flags]\n\nTest the verb toy.")
    assert re.search(r"NAME +whom to greet", out)
    assert re.search(r"--loud +shout", out)
    assert "--no-loud" not in out
    assert re.search(r"--no-quiet +whisper", out)
    assert re.search(r"--times N +how often, 100% sure \(default 1\)", out)
    assert "examples:\n  moqvox toy me\n" in out
    assert "MOQVOX_FLAG" in out


def test_verb_runs_with_its_options(run):
    seen = []
    code, _, _ = run("toy you --loud", lambda options, output: seen.append(options) or 0)
    assert code == 0
    assert (seen[0].name, seen[0].loud) == ("you", True)


def test_flags_before_the_verb_count_too(run):
    code, out, _ = run("--json --times 3 toy you", lambda o, output: output.event("n", n=o.times))
    assert code == 0
    assert json.loads(out.splitlines()[0]) == {"event": "n", "n": 3}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no verb given; moqvox --help lists them"),
        ("tyo", "unknown verb 'tyo'; did you mean 'toy'?"),
        ("--tyo", "unknown option '--tyo'; did you mean 'toy'?"),
        ("toy", "NAME is missing: whom to greet"),
        ("toy a b", "unexpected argument 'b'"),
        ("toy a --luod", "unknown option --luod; did you mean '--loud'?"),
        ("toy a --times x", "--times: 'x' is not a whole number"),
        ("toy a --config /no/such", "cannot read /no/such: no such file or directory"),
    ],
)
def test_wrong_command_lines_exit_2_with_one_line(run, line, message):
    code, out, err = run(line)
    assert (code, out, err) == (2, "", f"moqvox: {message}\n")


def test_wrong_variable_exits_2_naming_the_nearest(run, monkeypatch):
    monkeypatch.setenv("MOQVOX_LUOD", "1")
    code, _, err = run("toy a")
    assert code == 2
    assert err == "moqvox: unknown variable MOQVOX_LUOD; did you mean 'MOQVOX_LOUD'?\n"


def test_variables_of_every_other_verb_are_known(run, monkeypatch):
    monkeypatch.setenv("MOQVOX_TLS_CERT", "cert.pem")  # doctor's
    assert run("toy a")[0] == 0


@pytest.mark.parametrize(
    ("exc", "code", "message"),
    [
        (Failed("no reply came"), 1, "no reply came"),
        (UsageError("--out - and --json exclude each other"), 2, "--out - and --json exclude"),
        (FileNotFoundError(2, "No such file or directory", "a.wav"), 1, "a.wav: no such file"),
        (ConnectionRefusedError(111, "Connection refused"), 1, "connection refused"),
        (ExceptionGroup("g", [ExceptionGroup("h", [Failed("deep")])]), 1, "deep"),
        (ExceptionGroup("g", [Failed("one"), Failed("two"), Failed("one")]), 1, "one; two"),
        (KeyError("k"), 1, "KeyError: 'k' (a bug; -vv shows the traceback)"),
        (AssertionError(), 1, "AssertionError (a bug; -vv shows the traceback)"),
        (Failed("two\nlines"), 1, "two lines"),
    ],
)
def test_failures_are_one_line_and_an_exit_code(run, exc, code, message):
    found, out, err = run("toy a", raising(exc))
    assert (found, out) == (code, "")
    assert err.startswith(f"moqvox: {message}")
    assert err.count("\n") == 1


def test_library_errors_are_failures_not_bugs(run):
    from moqvox.errors import NotFound, SessionClosed

    for exc in (NotFound("no broadcast 'a'"), SessionClosed(2, "unauthorized", remote=True)):
        code, _, err = run("toy a", raising(exc))
        assert (code, err) == (1, f"moqvox: {exc}\n")


def test_failing_json_run_still_ends_with_done(run):
    code, out, err = run("toy a --json", raising(Failed("no reply came")))
    assert code == 1
    assert json.loads(out.splitlines()[-1]) == {
        "event": "done",
        "ok": False,
        "error": "no reply came",
        "exit_code": 1,
    }
    assert err == "moqvox: no reply came\n"


def test_json_run_that_says_nothing_is_done_all_the_same(run):
    for code in (0, 1):
        found, out, _ = run("toy a --json", lambda options, output, code=code: code)
        assert found == code
        assert json.loads(out) == {"event": "done", "ok": code == 0}


def test_traceback_appears_with_vv_and_not_before(run):
    assert "Traceback" not in run("toy a -v", raising(KeyError("k")))[2]
    assert "Traceback" in run("toy a -vv", raising(KeyError("k")))[2]
    assert "Traceback" in run("toy a -v -v", raising(KeyError("k")))[2]


def test_ctrl_c_in_a_plain_verb_exits_130_silently(run):
    assert run("toy a", raising(KeyboardInterrupt())) == (130, "", "")


def test_async_verbs_run_on_a_loop(run):
    async def body(options, output):
        await asyncio.sleep(0)
        output.text(f"hello {options.name}")
        return 0

    assert run("toy you", body) == (0, "hello you\n", "")


@pytest.mark.parametrize(
    ("number", "catches", "code"),
    [
        (signal.SIGINT, False, 130),
        (signal.SIGINT, True, 130),
        (signal.SIGTERM, False, 143),
        (signal.SIGTERM, True, 0),
    ],
)
def test_signals_cancel_and_let_the_verb_clean_up(run, number, catches, code):
    cleaned = []

    async def body(options, output):
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            if not catches:
                raise
        finally:
            cleaned.append(True)
        return 0

    found, out, err = run("toy a --json", body)
    assert (found, err, cleaned) == (code, "", [True])
    assert json.loads(out)["event"] == "done"


def test_second_signal_ends_a_clean_up_that_hangs(run):
    async def body(options, output):
        loop = asyncio.get_running_loop()
        loop.call_soon(os.kill, os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(20)
        finally:
            loop.call_soon(os.kill, os.getpid(), signal.SIGTERM)
            await asyncio.sleep(20)

    assert run("toy a", body)[0] == 143


def test_print_config_runs_nothing(run):
    code, out, _ = run("toy --loud --print-config", raising(AssertionError()))
    assert code == 0
    assert out.startswith("[toy]\n")
    assert "loud = true  # flag --loud\n" in out
    code, out, _ = run("toy --print-config --json --times 4")
    lines = [json.loads(line) for line in out.splitlines()]
    assert {"event": "option", "name": "times", "value": 4, "source": "flag --times"} in lines
    assert lines[-1] == {"event": "done", "ok": True}


def test_a_verb_that_cannot_be_imported_is_explained(run, monkeypatch, tmp_path):
    import moqvox_client.verbs as verbs

    monkeypatch.setattr(verbs, "__path__", [*verbs.__path__, str(tmp_path)])
    for name, source, message in [
        ("absent", None, "this installation has no verb 'absent'"),
        (
            "needy",
            "import pocketsphinx.nothing_there",
            "the verb 'needy' needs pocketsphinx; install it with pip install \"moqvox[demo]\"",
        ),
        (
            "other",
            "import no_such_package",
            "the verb 'other' needs the Python package 'no_such_package', which is not installed",
        ),
        ("broken", "from os import nothing", "cannot load the verb 'broken': ImportError: "),
        ("typo", "x = 'a' + 1", "cannot load the verb 'typo': TypeError: "),
        ("empty", "", "cannot load the verb 'empty': moqvox_client.verbs.empty lacks Options"),
    ]:
        if source is not None:
            (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.setitem(VERBS, name, "test")
        code, out, err = run(name)
        assert (code, out) == (1, "")
        assert err.startswith(f"moqvox: {message}")
        assert err.count("\n") == 1
        sys.modules.pop(f"moqvox_client.verbs.{name}", None)


def command(*words, **kwargs):
    path = os.pathsep.join(str(ROOT / part) for part in ("moq", "relay", "client", "certs"))
    return subprocess.Popen(
        [sys.executable, "-m", "moqvox_client", *words],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        **kwargs,
    )


@pytest.mark.slow
def test_closed_and_full_stdout_end_quietly_or_with_a_reason():
    reader, writer = os.pipe()
    os.close(reader)
    with command("--help", stdout=writer) as process:
        os.close(writer)
        assert process.communicate()[1] == b""
        assert process.returncode == 141
    with command("--help", stdout=None, preexec_fn=lambda: os.close(1)) as process:
        assert process.communicate()[1] == b""
        assert process.returncode == 0
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full, command("--help", stdout=full) as process:
            assert process.communicate()[1] == b"moqvox: no space left on device\n"
            assert process.returncode == 1


def test_loading_the_command_does_not_load_the_library():
    code = "import sys, moqvox_client.__main__; print('moqvox' in sys.modules)"
    path = os.pathsep.join(str(ROOT / part) for part in ("moq", "client", "certs"))
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=True,
    )
    assert found.stdout == b"False\n"


def test_logs_of_the_library_reach_stderr(run):
    def body(options, output):
        logging.getLogger("moqvox.session").info("opened")
        return 0

    assert "info moqvox.session: opened" in run("toy a -v", body)[2]
