"""The command line, the reports, the matrix and the programs under observation."""

import asyncio
import io
import json
import sys
import textwrap

import pytest
from interop.control import Control
from interop.external import External
from interop.failure import Failure
from interop.matrix import MatrixError, Row, Transport, Version, read_matrix
from interop.moqvox import Moqvox
from interop.play import Outcome, play
from interop.report import JsonReport, TapReport
from interop.sides import Target
from interop.stage import Endpoint, open_stage

from interop import moqrs, run

ROW = Row("relay", "moq-rs", Transport.QUIC, Version.LITE_06, "127.0.0.1", 5.0)
FAILED = Outcome("a/b", False, False, 0.25, "it: broke", [{"program": "p", "stderr": ["x"]}])


def _watching(script, body):
    """Run `body` on a program whose source is `script`."""

    async def go(folder):
        async with open_stage(folder) as stage:
            argv = [sys.executable, "-c", textwrap.dedent(script)]
            program = await stage.start("it", argv, {})
            await body(program)

    def test(folder):
        try:
            asyncio.run(go(folder))
        except ExceptionGroup as exc:
            raise exc.exceptions[0] from None

    return test


def test_an_unknown_case_exits_with_127(capsys):
    assert run.main(["--case", "no-such-case"]) == 127
    assert "no-such-case" in capsys.readouterr().err


def test_a_case_can_be_named_by_its_variable_or_by_a_row():
    rows = read_matrix()
    assert run.main([], {"TESTCASE": "no-such-case"}) == 127
    assert {row.case for row in run.select(rows, ["fetch"])} == {"fetch"}
    assert [row.name for row in run.select(rows, [ROW.name])] == [ROW.name]
    assert run.select(rows, []) == rows


def test_the_list_has_every_row_once(capsys):
    assert run.main(["--list"], {}) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [row.name for row in read_matrix()]


def test_a_relay_url_of_another_scheme_is_a_usage_error(capsys):
    assert run.main(["--relay", "http://localhost"], {}) == 2
    assert "https://" in capsys.readouterr().err


def test_tap_says_what_failed_in_yaml_that_other_tools_read():
    stream = io.StringIO()
    report = TapReport(stream)
    report.begin(3)
    report.add(Outcome("a/a", True, False, 0.5))
    report.add(FAILED)
    report.add(Outcome("a/c", True, True, 0.0, "not here"))
    report.end({"passed": 1, "failed": 1})
    expected = """\
        TAP version 14
        1..3
        ok 1 - a/a
          ---
          duration_ms: 500
          ...
        not ok 2 - a/b
          ---
          duration_ms: 250
          message: "it: broke"
          programs:
            -
              program: "p"
              stderr:
                - "x"
          ...
        ok 3 - a/c # SKIP not here
        # 1 passed, 1 failed
        """
    assert stream.getvalue() == textwrap.dedent(expected)


def test_json_ends_with_done_that_knows_whether_all_passed():
    stream = io.StringIO()
    report = JsonReport(stream)
    report.begin(1)
    report.add(FAILED)
    report.end({"passed": 0, "failed": 1})
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["plan", "case", "done"]
    assert lines[1]["verdict"] == "it: broke"
    assert lines[-1]["ok"] is False


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('[[row]]\ncase = "a"\nversion = "x"', "unknown field"),
        ('[[row]]\ncase = "a"\nversions = ["moq-lite-99"]', "moq-lite-99"),
        ('[[row]]\ncase = "a"\n[[row]]\ncase = "a"', "a/quic/moq-lite-06.* twice"),
        ("row = [", "matrix.toml"),
    ],
)
def test_a_wrong_matrix_is_refused(tmp_path, text, verdict):
    file = tmp_path / "matrix.toml"
    file.write_text(text)
    with pytest.raises(MatrixError, match=verdict):
        read_matrix(file)


def test_a_url_selects_the_transport_and_carries_the_token():
    endpoint = Endpoint("127.0.0.1:1", "ab")
    assert endpoint.url(Transport.QUIC) == "moqt://127.0.0.1:1/"
    assert endpoint.url(Transport.MOQL, path="room") == "moql://127.0.0.1:1/room"
    assert endpoint.url(Transport.WEBTRANSPORT, token="a&b") == "https://127.0.0.1:1/?jwt=a%26b"
    assert Target(endpoint).token is None


def test_the_control_and_a_foreign_relay_skip_what_they_cannot_show():
    old = Row("relay", "moq-rs", Transport.QUIC, Version.LITE_03, "127.0.0.1", 5.0)
    push = Row("push-pull", "moq-rs", Transport.QUIC, Version.LITE_06, "127.0.0.1", 5.0)
    assert Control().can_play(ROW) is None
    assert "version" in (Control().can_play(old) or "")
    foreign = External("moqt://localhost:4443")
    assert foreign.can_play(ROW) is None
    assert "version" in (foreign.can_play(old) or "")
    assert "not just a relay" in (foreign.can_play(push) or "")
    assert External("https://localhost:4443").can_play(ROW) == "the URL is https://"
    assert asyncio.run(play(old, Control())).skipped


def test_events_are_found_by_name_and_fields_in_order(tmp_path):
    script = """
        import json
        for number in range(3):
            print(json.dumps({"event": "tick", "number": number}), flush=True)
    """

    async def body(program):
        first = await program.event("tick")
        assert (first.at, first.fields) == (0, {"number": 0})
        assert (await program.event("tick", after=first.at)).fields["number"] == 1
        assert (await program.event("tick", number=2)).at == 2
        assert await program.finished() == 0
        with pytest.raises(Failure, match="ended without tock or tuck"):
            await program.either("tock", "tuck")
        with pytest.raises(Failure, match=r'ended without \{"event": "tick", "number": 7\}'):
            await program.event("tick", number=7)

    _watching(script, body)(tmp_path)


def test_a_wrong_exit_code_is_a_failure_unless_it_is_named(tmp_path):
    async def body(program):
        assert await program.finished(3) == 3
        with pytest.raises(Failure, match="exit code 3, not 0"):
            await program.finished()

    _watching("raise SystemExit(3)", body)(tmp_path)


@pytest.mark.parametrize("noise", ["hello", "[1]", '{"no": "event"}'])
def test_anything_but_events_on_stdout_is_a_failure(tmp_path, noise):
    async def body(program):
        with pytest.raises(Failure, match="no JSON event"):
            await program.finished()

    _watching(f"print({noise!r})", body)(tmp_path)


def test_a_traceback_on_stderr_is_noticed(tmp_path):
    async def body(program):
        await program.finished(1)
        assert program.has_traceback
        assert "ValueError: boo" in program.stderr
        assert program.describe()["exit_code"] == 1

    _watching("raise ValueError('boo')", body)(tmp_path)


def test_orders_reach_a_program_and_the_end_of_stdin_ends_it(tmp_path):
    script = """
        import json, sys
        for line in sys.stdin:
            print(json.dumps({"event": "heard", "line": line.strip()}), flush=True)
    """

    async def body(program):
        await program.say("again")
        assert (await program.event("heard")).fields["line"] == "again"
        program.leave()
        await program.finished()

    _watching(script, body)(tmp_path)


def test_a_program_that_is_waited_for_in_vain_is_named_and_does_not_outlive_the_case(tmp_path):
    async def body(program):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await program.event("ready")
        assert program.awaited == '{"event": "ready"} of it'

    _watching("import time; time.sleep(60)", body)(tmp_path)


def test_a_program_that_does_not_exist_is_a_failure(tmp_path):
    async def go():
        async with open_stage(tmp_path) as stage:
            with pytest.raises(Failure, match="could not be started"):
                await stage.start("it", [str(tmp_path / "none")], {})

    asyncio.run(go())


SPOKE_04 = """
    import json, sys
    print("INFO \\x1b[32mclient\\x1b[0m: connected version=moq-lite-04", file=sys.stderr)
    print(json.dumps({"event": "ready"}))
    fields = {"version": "moq-lite-04", "transport": "webtransport"}
    print(json.dumps({"event": "connected", **fields}))
"""


def test_another_version_than_the_rows_is_a_failure_on_either_side(tmp_path):
    right = Row("relay", "moq-rs", Transport.WEBTRANSPORT, Version.LITE_04, "::1", 5.0)

    async def body(program):
        await program.finished()
        moqrs.check_version(program, Version.LITE_04)
        with pytest.raises(Failure, match=r"spoke \['moq-lite-04'\], not moq-lite-06"):
            moqrs.check_version(program, Version.LITE_06)
        Moqvox().check_version(program, right)
        with pytest.raises(Failure, match="spoke moq-lite-04"):
            Moqvox().check_version(program, ROW)
        quic = Row("relay", "moq-rs", Transport.QUIC, Version.LITE_04, "::1", 5.0)
        with pytest.raises(Failure, match="used webtransport"):
            Moqvox().check_version(program, quic)

    _watching(SPOKE_04, body)(tmp_path)


def test_a_client_that_does_not_say_its_version_is_a_failure(tmp_path):
    async def body(program):
        await program.finished()
        with pytest.raises(Failure, match=r"spoke \[\], not moq-lite-06"):
            moqrs.check_version(program, Version.LITE_06)

    _watching('print(\'{"event": "ready"}\')', body)(tmp_path)
