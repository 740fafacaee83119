import json
import time

import pytest

from moqvox_client.errors import Failed
from moqvox_client.trace import Moment, Trace, monotonic_ns


def test_each_frame_is_a_line_with_its_moment(tmp_path):
    file = tmp_path / "trace.jsonl"
    with Trace(file, clock_ns=lambda: 7) as trace:
        trace.frame(Moment.CAPTURED, timestamp_us=20_000, size_bytes=61, ns=3)
        trace.frame(Moment.PLAYED, timestamp_us=None, size_bytes=0, group=4, track="mic")
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {"event": "captured", "ns": 3, "timestamp_us": 20_000, "bytes": 61},
        {
            "event": "played",
            "ns": 7,
            "timestamp_us": None,
            "bytes": 0,
            "group": 4,
            "track": "mic",
        },
    ]


def test_clock_is_the_one_that_all_processes_share():
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    assert before <= monotonic_ns() <= time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def test_without_a_file_nothing_happens():
    with Trace(None) as trace:
        trace.frame(Moment.WRITTEN, timestamp_us=0, size_bytes=0)


def test_lines_are_kept_when_the_run_fails(tmp_path):
    file = tmp_path / "trace.jsonl"

    def fail():
        with Trace(file) as trace:
            trace.frame(Moment.WRITTEN, timestamp_us=0, size_bytes=0)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert len(file.read_text().splitlines()) == 1


def test_unwritable_files_are_named(tmp_path):
    with pytest.raises(Failed, match=r"cannot write the trace .*: is a directory"):
        Trace(tmp_path)


def test_full_disk_is_reported_when_it_is_noticed():
    from pathlib import Path

    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(Failed, match="no space left"), Trace(Path("/dev/full")) as trace:
        trace.frame(Moment.WRITTEN, timestamp_us=0, size_bytes=0)
