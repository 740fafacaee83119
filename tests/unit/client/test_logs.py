import io
import json
import logging
import sys
import threading
import warnings

import pytest

from moqvox_client.logs import configure
from moqvox_client.options import LogLevel, Shared
from moqvox_client.output import Output

log = logging.getLogger("moqvox.test")


def setup(**options):
    stderr = io.StringIO()
    configure(Shared(**options), Output(stdout=io.StringIO(), stderr=stderr, environment={}))
    return stderr


@pytest.mark.parametrize(
    ("options", "heard"),
    [
        ({}, ["warning", "error"]),
        ({"verbose": 1}, ["info", "warning", "error"]),
        ({"verbose": 2}, ["debug", "info", "warning", "error"]),
        ({"log_level": LogLevel.ERROR}, ["error"]),
        ({"log_level": LogLevel.DEBUG, "verbose": 1}, ["debug", "info", "warning", "error"]),
    ],
)
def test_level_follows_the_flags(options, heard):
    stderr = setup(**options)
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)("a %s", "message")
    assert [line.split()[1] for line in stderr.getvalue().splitlines()] == heard


def test_other_libraries_are_quiet_until_very_verbose():
    stderr = setup(verbose=2)
    logging.getLogger("quic").info("chatter")
    assert stderr.getvalue() == ""
    stderr = setup(verbose=3)
    logging.getLogger("quic").info("chatter")
    assert "chatter" in stderr.getvalue()


def test_json_lines_carry_time_level_logger_and_message():
    stderr = setup(log_json=True)
    log.warning("lost %d", 3)
    line = json.loads(stderr.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "moqvox.test", "message": "lost 3"}


@pytest.mark.parametrize("log_json", [False, True])
def test_exceptions_are_one_line_without_debug_and_a_traceback_with_it(log_json):
    for verbose in (0, 2):
        stderr = setup(verbose=verbose, log_json=log_json)
        try:
            {}["k"]
        except KeyError:
            log.exception("it broke")
        text = stderr.getvalue()
        assert "it broke: KeyError: 'k'" in text
        assert ("Traceback" in text) is (verbose == 2)
        assert (text.count("\n") == 1) is (verbose == 0 or log_json)


def test_threads_destructors_and_warnings_are_logged_without_a_traceback():
    stderr = setup()

    def die():
        raise RuntimeError("boom")

    thread = threading.Thread(target=die, name="reader")
    thread.start()
    thread.join()
    assert "thread reader died: RuntimeError: boom" in stderr.getvalue()

    class Bad:
        def __del__(self):
            raise ValueError("late")

    Bad()
    assert "ValueError: late" in stderr.getvalue()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old habits", UserWarning, stacklevel=1)
    assert "old habits" in stderr.getvalue()
    assert "Traceback" not in stderr.getvalue()
    assert sys.unraisablehook is not sys.__unraisablehook__


def test_configuring_twice_logs_once():
    setup()
    stderr = setup()
    log.warning("once")
    assert stderr.getvalue().count("once") == 1
