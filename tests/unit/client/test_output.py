import io
import json

import pytest

from moqvox_client.output import Color, Output, OutputClosed


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def make(*, json=False, terminal=False, env=None):
    kind = Terminal if terminal else io.StringIO
    out, err = kind(), kind()
    clock = iter(n * 0.04 for n in range(1000))
    return (
        Output(json=json, stdout=out, stderr=err, environment=env or {}, clock=lambda: next(clock)),
        out,
        err,
    )


def test_json_lines_are_objects_with_the_event_first_and_done_last():
    output, out, _ = make(json=True)
    output.text("unheard")
    output.table([("unheard",)])
    output.event("frame", bytes=3, text="ü\n")
    output.done(frames=1)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith('{"event":"frame"')
    assert [json.loads(line) for line in lines] == [
        {"event": "frame", "bytes": 3, "text": "ü\n"},
        {"event": "done", "ok": True, "frames": 1},
    ]


def test_done_is_written_once():
    output, out, _ = make(json=True)
    output.done(frames=1)
    output.done(ok=False)
    assert len(out.getvalue().splitlines()) == 1


def test_humans_get_text_and_no_json():
    output, out, _ = make()
    output.event("frame")
    output.text("one")
    output.done(frames=1)
    assert out.getvalue() == "one\n"


def test_table_columns_line_up():
    output, out, _ = make()
    output.table([("a", 1), ("long", 22, "x")], header=("name", "n"))
    assert out.getvalue() == "name  n\na     1\nlong  22  x\n"


def test_colors_need_a_terminal_and_no_veto():
    for terminal, env, colored in [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ]:
        output, _, _ = make(terminal=terminal, env=env)
        assert (output.paint("x", Color.GOOD) == "\x1b[32mx\x1b[0m") is colored


def test_progress_is_for_terminals_only_and_ten_times_a_second_at_most():
    output, out, err = make()
    output.progress("10 s")
    assert (out.getvalue(), err.getvalue()) == ("", "")
    output, out, err = make(terminal=True)
    for n in range(6):  # the clock advances 40 ms each time
        output.progress(f"{n}")
    assert err.getvalue() == "\r\x1b[K0\r\x1b[K3"
    assert out.getvalue() == ""


def test_progress_is_silent_with_json():
    output, _, err = make(json=True, terminal=True)
    output.progress("10 s")
    assert err.getvalue() == ""


def test_lines_replace_the_progress_line_and_notes_keep_it():
    output, out, err = make(terminal=True)
    output.progress("10 s")
    output.note("look")
    assert err.getvalue() == "\r\x1b[K10 s\r\x1b[Klook\n10 s"
    output.text("data")
    assert err.getvalue().endswith("look\n10 s\r\x1b[K")
    assert out.getvalue() == "data\n"


def test_a_reader_that_left_is_its_own_exception():
    output = Output(json=True, stdout=Gone(), stderr=io.StringIO(), environment={})
    with pytest.raises(OutputClosed):
        output.event("frame")
    closed = io.StringIO()
    closed.close()
    with pytest.raises(OutputClosed):
        Output(stdout=closed, stderr=io.StringIO(), environment={}).text("x")


def test_without_a_stderr_notes_are_dropped():
    Output(stdout=io.StringIO(), stderr=Gone(), environment={}).note("unheard")


def test_raw_bytes_pass_unchanged():
    binary = io.BytesIO()
    output = Output(stdout=io.TextIOWrapper(binary, "utf-8"), stderr=io.StringIO(), environment={})
    output.raw(b"\x00\xff\r\n")
    assert binary.getvalue() == b"\x00\xff\r\n"
