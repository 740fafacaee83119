import errno
import logging
import os
import stat

import pytest

from moqvox.errors import LocalError
from moqvox.voice import journal as journal_module
from moqvox.voice import scribe as scribe_module
from moqvox.voice.chronicle import Began, Framed, Opened, read
from moqvox.voice.journal import Bounds, Journal
from moqvox.voice.scribe import RENEW_BYTES, Scribe

PAYLOAD = b"\x00\xf8" + bytes(98)


def began(call: str = "call") -> Began:
    return Began(call, "session", 0, "00" * 32)


def opened(path, **bounds) -> Journal:
    made = Journal(path, Bounds(**bounds))
    made.open()
    return made


def begin(made: Journal, call: str = "call") -> Scribe:
    scribe = Scribe()
    made.begin(call, scribe, [began(call)])
    return scribe


def files(path) -> list:
    return sorted(path.iterdir())


def test_what_is_written_is_there_for_the_next_process(tmp_path):
    first = opened(tmp_path / "j")
    scribe = begin(first)
    scribe.note(Opened(0, 0))
    scribe.note(Framed(0, PAYLOAD))
    first.close()
    second = opened(tmp_path / "j")
    chronicle, next_scribe = second.take_up("call")
    assert chronicle.said[0].payloads == [PAYLOAD]
    next_scribe.note(Framed(0, PAYLOAD))
    second.close()
    chronicle, _ = opened(tmp_path / "j").take_up("call")
    assert chronicle.said[0].payloads == [PAYLOAD] * 2


def test_files_are_for_their_user_alone_and_tell_no_names(tmp_path):
    begin(opened(tmp_path / "j"), "a-call")
    (file,) = files(tmp_path / "j")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "j").stat().st_mode) == 0o700
    assert "a-call" not in file.name


def test_a_file_goes_when_its_session_ends(tmp_path):
    scribe = begin(opened(tmp_path))
    scribe.remove()
    assert files(tmp_path) == []
    scribe.note(Opened(0, 0))


def test_a_file_belongs_to_the_process_that_lives(tmp_path, caplog):
    begin(opened(tmp_path))
    other = opened(tmp_path)
    assert other.take_up("call") is None
    assert "another process has call" in caplog.text
    assert len(files(tmp_path)) == 1


def test_an_append_that_was_cut_off_is_made_good(tmp_path):
    first = opened(tmp_path)
    begin(first).note(Opened(0, 0))
    first.close()
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:-3])
    second = opened(tmp_path)
    _, scribe = second.take_up("call")
    scribe.note(Opened(0, 5))
    assert read(file.read_bytes())[0].said[0].start_us == 5


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"moqvox journal 1\n", bytes(1000)])
def test_a_file_that_is_no_journal_is_ignored_with_one_line(tmp_path, caplog, content):
    first = opened(tmp_path)
    begin(first)
    first.close()
    (file,) = files(tmp_path)
    file.write_bytes(content)
    caplog.set_level(logging.WARNING)
    second = opened(tmp_path)
    assert second.take_up("call") is None
    assert second.ignored == len(caplog.records) == 1
    assert caplog.records[0].exc_info is None
    assert files(tmp_path) == []


def test_a_file_of_another_call_is_ignored(tmp_path):
    first = opened(tmp_path)
    begin(first, "one")
    first.close()
    (one,) = files(tmp_path)
    second = opened(tmp_path)
    begin(second, "two")
    second.close()
    two = next(file for file in files(tmp_path) if file != one)
    two.write_bytes(one.read_bytes())
    assert opened(tmp_path).take_up("two") is None


def test_a_link_is_not_followed(tmp_path):
    first = opened(tmp_path / "j")
    begin(first)
    first.close()
    (file,) = files(tmp_path / "j")
    target = tmp_path / "target"
    file.rename(target)
    file.symlink_to(target)
    assert opened(tmp_path / "j").take_up("call") is None
    assert target.exists()


def test_a_pipe_is_not_waited_for(tmp_path):
    made = opened(tmp_path)
    begin(made)
    made.close()
    (file,) = files(tmp_path)
    file.unlink()
    os.mkfifo(file)
    assert opened(tmp_path).take_up("call") is None


def test_old_files_are_removed_and_those_of_live_calls_are_not(tmp_path):
    first = opened(tmp_path)
    begin(first, "dead")
    first.close()
    living = opened(tmp_path)
    begin(living, "live")
    for file in files(tmp_path):
        os.utime(file, (1, 1))
    opened(tmp_path)
    assert len(files(tmp_path)) == 1
    living.mind()
    living.close()
    assert opened(tmp_path).take_up("live") is not None


def test_a_file_past_its_age_is_not_gone_on_with(tmp_path):
    now = [journal_module._wall()]
    first = Journal(tmp_path, Bounds(max_age=10), wall=lambda: now[0])
    first.open()
    begin(first)
    first.close()
    first.open()
    now[0] += 11
    assert first.take_up("call") is None
    assert files(tmp_path) == []


def test_a_call_that_grows_past_its_bound_goes_on_without(tmp_path, caplog):
    made = opened(tmp_path, max_bytes=1000)
    scribe = begin(made)
    for _ in range(20):
        scribe.note(Framed(0, PAYLOAD))
    assert not scribe.is_writing
    assert made.given_up == 1
    assert files(tmp_path) == []
    assert len([each for each in caplog.records if "goes on without" in each.message]) == 1


def test_calls_past_the_bound_are_not_written_down(tmp_path):
    made = opened(tmp_path, max_calls=2)
    scribes = [begin(made, str(n)) for n in range(3)]
    assert [scribe.is_writing for scribe in scribes] == [True, True, False]
    scribes[0].remove()
    assert begin(made, "3").is_writing


def test_all_calls_together_are_bounded(tmp_path):
    made = opened(tmp_path, max_total_bytes=1000)
    one, two = begin(made, "one"), begin(made, "two")
    for _ in range(6):
        one.note(Framed(0, PAYLOAD))
    two.note(Framed(0, PAYLOAD))
    two.note(Framed(0, PAYLOAD))
    assert one.is_writing
    assert not two.is_writing
    assert begin(made, "three").is_writing


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_costs_the_journal_and_not_the_call(tmp_path, monkeypatch, caplog, code):
    made = opened(tmp_path)
    scribe = begin(made)

    def fail(_file, _text):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(scribe_module.os, "write", fail)
    scribe.note(Opened(0, 0))
    scribe.note(Opened(1, 0))
    assert made.given_up == 1
    assert len(caplog.records) == 1
    assert os.strerror(code) in caplog.text


def test_a_disk_that_takes_half_a_record_counts_as_full(tmp_path, monkeypatch):
    made = opened(tmp_path)
    scribe = begin(made)
    monkeypatch.setattr(scribe_module.os, "write", lambda _file, text: len(text) // 2)
    scribe.note(Opened(0, 0))
    assert made.given_up == 1
    assert files(tmp_path) == []


def test_a_disk_that_is_slow_is_not_written_to_any_more(tmp_path, monkeypatch):
    made = opened(tmp_path)
    scribe = begin(made)
    ticks = iter((0.0, scribe_module.SLOW + 0.1))
    monkeypatch.setattr(scribe_module.time, "perf_counter", lambda: next(ticks))
    scribe.note(Opened(0, 0))
    assert made.given_up == 1


def test_a_long_file_begins_anew_once_nothing_in_it_is_needed(tmp_path):
    made = opened(tmp_path)
    scribe = begin(made)
    needed = [True]
    scribe.renew_by(lambda: None if needed[0] else [began()])
    scribe.note(Opened(0, 0))
    while scribe.size_bytes <= RENEW_BYTES:
        scribe.note(Framed(0, PAYLOAD))
    scribe.look()
    assert scribe.size_bytes > RENEW_BYTES
    needed[0] = False
    scribe.look()
    assert scribe.size_bytes < 200
    scribe.note(Opened(1, 7))
    made.close()
    assert len(files(tmp_path)) == 1
    chronicle, _ = opened(tmp_path).take_up("call")
    assert list(chronicle.said) == [1]


def test_a_directory_that_others_can_read_is_refused(tmp_path):
    (tmp_path / "j").mkdir()
    (tmp_path / "j").chmod(0o755)
    with pytest.raises(LocalError, match="chmod 700"):
        opened(tmp_path / "j")


def test_a_directory_that_is_a_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "j").write_text("")
    with pytest.raises(LocalError, match=r"journal .*j: File exists"):
        opened(tmp_path / "j")


def test_a_directory_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    made = Journal(tmp_path)

    def fail(*_args, **_more):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(made, "_make", fail)
    with pytest.raises(LocalError, match="Read-only file system"):
        made.open()
