from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from moqvox_client.arguments import read_arguments
from moqvox_client.config import Source, describe, resolve
from moqvox_client.errors import UsageError
from moqvox_client.kinds import ByteSize, Duration, HostPort, Percent, Url
from moqvox_client.options import Argument, Flag, LogLevel, Shared, declared


class Push(Shared, frozen=True, kw_only=True):
    url: Annotated[Url, Argument("the relay")]
    source: Annotated[tuple[Path, ...], Argument("what to send")] = ()
    bind: Annotated[HostPort, Flag("address")] = HostPort("::", 4443)
    max_lead: Annotated[Duration, Flag("lead")] = 20.0
    cache: Annotated[ByteSize | None, Flag("cache")] = None
    loss: Annotated[Percent, Flag("loss")] = 0.0
    host: Annotated[tuple[str, ...], Flag("names", split=True)] = ("localhost",)
    say: Annotated[tuple[str, ...], Flag("texts")] = ()
    tone: Annotated[bool, Flag("a tone")] = False
    count: Annotated[int, Flag("how many", at_least=1, at_most=9)] = 3
    gain: Annotated[float, Flag("gain")] = 1.0
    token: Annotated[str | None, Flag("token", secret=True)] = None


class Other(Shared, frozen=True, kw_only=True):
    device: Annotated[str, Flag("device")] = ""


@pytest.fixture
def run(tmp_path):
    def run(words="https://h/", env=None, file=None):
        words = words.split() if isinstance(words, str) else words
        if file is not None:
            (tmp_path / "m.toml").write_text(file)
            words = [*words, "--config", str(tmp_path / "m.toml")]
        arguments = read_arguments("push", Push, words)
        return resolve(
            "push",
            Push,
            arguments.values,
            env or {},
            verbs=["push", "other"],
            others=lambda: [Other],
        )

    return run


PRECEDENCE = [
    # flag, environment, [push] table, top of the file, expected value and source
    ("4", "5", "6", "7", 4, Source.FLAG),
    (None, "5", "6", "7", 5, Source.ENVIRONMENT),
    (None, None, "6", "7", 6, Source.FILE),
    (None, None, None, "7", 7, Source.FILE),
    (None, None, None, None, 3, Source.DEFAULT),
    ("4", None, "6", None, 4, Source.FLAG),
    (None, "", "6", None, 6, Source.FILE),
]


@pytest.mark.parametrize(("flag", "env", "own", "top", "value", "source"), PRECEDENCE)
def test_flag_beats_environment_beats_table_beats_top_of_file(
    run, flag, env, own, top, value, source
):
    words = "https://h/" + (f" --count {flag}" if flag else "")
    file = (f"count = {top}\n" if top else "") + (f"[push]\ncount = {own}\n" if own else "")
    resolved = run(words, {} if env is None else {"MOQVOX_COUNT": env}, file)
    assert resolved.options.count == value
    assert resolved.settings["count"].source is source


def test_every_kind_can_come_from_every_source(run):
    expected = Push(
        url="https://h/",
        bind=HostPort("::1", 1),
        max_lead=2.5,
        cache=4 << 20,
        loss=10.0,
        host=("a", "b"),
        tone=True,
        count=2,
        gain=0.5,
        token="t",
    )
    flags = (
        "https://h/ --bind [::1]:1 --max-lead 2500ms --cache 4MiB --loss 10% --host a --host b"
        " --tone --count 2 --gain 0.5 --token t"
    )
    variables = {
        "MOQVOX_BIND": "[::1]:1",
        "MOQVOX_MAX_LEAD": "2.5s",
        "MOQVOX_CACHE": "4194304",
        "MOQVOX_LOSS": "10",
        "MOQVOX_HOST": "a, b",
        "MOQVOX_TONE": "true",
        "MOQVOX_COUNT": "2",
        "MOQVOX_GAIN": "0.5",
        "MOQVOX_TOKEN": "t",
    }
    file = """
        token = "t"
        [push]
        bind = "[::1]:1"
        max_lead = "2500ms"
        cache = "4MiB"
        loss = 10
        host = ["a", "b"]
        tone = true
        count = 2
        gain = 0.5
    """
    for resolved in (run(flags), run(env=variables), run(file=file)):
        found = msgspec.structs.replace(resolved.options, config=None)
        assert found == expected


def test_shared_options_are_keys_and_variables_too(run):
    options = run(env={"MOQVOX_LOG_JSON": "1"}, file='log-level = "debug"\njson = true').options
    assert (options.log_json, options.log_level, options.json) == (True, LogLevel.DEBUG, True)


def test_config_file_can_be_named_by_the_environment(run, tmp_path):
    (tmp_path / "x.toml").write_text("[push]\ncount = 9")
    assert run(env={"MOQVOX_CONFIG": str(tmp_path / "x.toml")}).options.count == 9


def test_a_flag_can_switch_off_what_the_environment_switched_on(run):
    assert run("https://h/ --no-tone", {"MOQVOX_TONE": "1"}).options.tone is False


def test_arguments_and_flags_may_come_in_any_order(run):
    options = run("--tone https://h/ --count 2 a.wav -vv b.wav").options
    assert (options.url, options.source) == ("https://h/", (Path("a.wav"), Path("b.wav")))
    assert (options.tone, options.verbose) == (True, 2)


def test_dash_is_an_argument_and_a_double_dash_ends_flags(run):
    assert run("https://h/ -").options.source == (Path("-"),)
    assert run("https://h/ -- --tone").options.source == (Path("--tone"),)


def test_lists_are_repeated_or_comma_separated_and_arguments_are_taken_whole(run):
    options = run("https://h/ --host a,b --host c x,y.wav").options
    assert options.host == ("a", "b", "c")
    assert run(["https://h/", "--say", "well, then"]).options.say == ("well, then",)
    assert options.source == (Path("x,y.wav"),)


def test_the_last_of_a_repeated_flag_counts(run):
    assert run("https://h/ --count 1 --count 2").options.count == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "URL is missing: the relay"),
        ("https://h/ --bnid x", "unknown option --bnid; did you mean '--bind'?"),
        ("https://h/ --bind=x", r"--bind: 'x' is not an address: it needs a host and a port"),
        ("https://h/ --zzz", "unknown option --zzz$"),
        ("https://h/ --coun 2", "unknown option --coun; did you mean '--count'?"),
        ("https://h/ --count", "--count: expected one argument"),
        ("https://h/ --count 0", "--count: '0' is below 1, the least allowed"),
        ("https://h/ --count 10", "--count: '10' is above 9, the most allowed"),
        ("https://h/ --max-lead 5", "--max-lead: '5' has no unit; write 5s or 5ms"),
        ("ftp://h/", "URL: 'ftp://h/' has the scheme 'ftp'"),
        ("https://h/ --tone=1", "--tone"),
        ("https://h/ --log-level loud", "'loud' is none of error, warning, info, debug"),
    ],
)
def test_bad_command_lines_are_refused(run, words, message):
    with pytest.raises(UsageError, match=message):
        run(words)


def test_one_argument_too_many_is_named():
    class One(Shared, frozen=True, kw_only=True):
        url: Annotated[Url, Argument("the relay")]

    with pytest.raises(UsageError, match="unexpected argument 'b'"):
        read_arguments("one", One, ["https://a/", "b"])


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"MOQVOX_BNID": "x"}, "unknown variable MOQVOX_BNID; did you mean 'MOQVOX_BIND'?"),
        ({"MOQVOX_COUNT": "many"}, "MOQVOX_COUNT: 'many' is not a whole number"),
        ({"MOQVOX_URL": "https://a/"}, "unknown variable MOQVOX_URL"),
        ({"MOQVOX_PRINT_CONFIG": "1"}, "unknown variable MOQVOX_PRINT_CONFIG"),
        ({"MOQVOX_CONFIG": "/no/such.toml"}, "cannot read /no/such.toml: no such file"),
    ],
)
def test_bad_variables_are_refused(run, env, message):
    with pytest.raises(UsageError, match=message):
        run(env=env)


def test_variables_of_other_verbs_and_of_other_programs_are_left_alone(run):
    run(env={"MOQVOX_DEVICE": "hw:1", "MOQVOX_LIBOPUS": "x", "HOME": "/", "moqvox_bind": "?"})


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("[push]\nbnid = 'x'", r"unknown key 'bnid' in \[push\] of .*; did you mean 'bind'\?"),
        ("[pushh]\n", r"unknown table \[pushh\] in .*; did you mean 'push'\?"),
        ("tokken = 'x'", r"unknown key 'tokken' in .*; did you mean 'token'\?"),
        ("push = 3", "unknown key 'push' in"),
        ("[push]\nurl = 'https://a/'", r"unknown key 'url' in \[push\]"),
        ("config = 'x.toml'", "unknown key 'config'"),
        ("[push]\ncount = 'x'", r"count in \[push\] of .*: 'x' is not a whole number"),
        ("[push]\ncount = [1]", r"count in \[push\] of .*: \[1\] is not a N value"),
        ("[push]\ncount = true", "count in .*: True is not a N value"),
        ("[push]\ntone = 'yes'", "tone in .*: 'yes' is not true or false"),
        ("[push]\nhost = [['a']]", None),
        ("[push]\nhost = {a = 1}", "host in .* is not a list of TEXT values"),
        ("[push]\ncount = 2026-11-21", "count in .* is not a N value"),
        ("[push]\nmax-lead = 5", "max-lead in .*: '5' has no unit"),
        ("[push]\nmax-lead = '5s'\nmax_lead = '5s'", "key 'max-lead' is given twice"),
        ("x = ", "is not TOML: invalid value"),
    ],
)
def test_bad_files_are_refused(run, file, message):
    if message is None:
        assert run(file=file).options.host == ("a",)
        return
    with pytest.raises(UsageError, match=message):
        run(file=file)


def test_tables_and_shared_keys_of_other_verbs_are_left_alone(run):
    run(file='device = "hw:1"\n[other]\nwhatever = 1')


def test_a_huge_or_binary_file_is_refused(run, tmp_path):
    (tmp_path / "big").write_bytes(b"#" * (1 << 21))
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        run(["https://h/", "--config", str(tmp_path / "big")])
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not TOML"):
        run(["https://h/", "--config", str(tmp_path / "binary")])
    with pytest.raises(UsageError, match=r"cannot read .*: is a directory"):
        run(["https://h/", "--config", str(tmp_path)])


def test_values_are_bounded(run):
    with pytest.raises(UsageError, match="a value of 65537 characters, at most 65536"):
        run(["https://h/", "--host", "x" * 65537])
    with pytest.raises(UsageError, match="1001 values, at most 1000"):
        run(env={"MOQVOX_HOST": "x," * 1000})


def test_a_bad_secret_is_not_repeated(run):
    with pytest.raises(UsageError, match="--token: unusable value") as caught:
        run(["https://h/", "--token", "s" * 70_000])
    assert "sss" not in str(caught.value)


def test_print_config_tells_each_value_and_its_source_and_hides_secrets(run):
    resolved = run(
        "https://h/?jwt=hunter2 --bind :1 --print-config",
        {"MOQVOX_TOKEN": "hunter2", "MOQVOX_HOST": "a,b"},
        "[push]\ncount = 5\nmax-lead = '250ms'",
    )
    lines = describe(resolved, "push")
    text = "\n".join(lines)
    assert "hunter2" not in text
    assert lines[0] == "[push]"
    assert 'bind = "[::]:1"  # flag --bind' in lines
    assert 'token = "***"  # environment MOQVOX_TOKEN' in lines
    assert 'host = ["a", "b"]  # environment MOQVOX_HOST' in lines
    assert any(line.startswith("count = 5  # file [push] of ") for line in lines)
    assert 'max-lead = "250ms"' in text
    assert "# cache = (not set)  # default" in lines
    assert '# url = "https://h/?jwt=***"  # flag URL, command line only' in lines


def test_what_print_config_prints_is_a_file_with_the_same_meaning(run):
    first = run("https://h/ --bind :1 --gain 0.25 --loss 5 --host x --tone --cache 1MiB -v")
    again = run(file="\n".join(describe(first, "push")))
    assert msgspec.structs.replace(again.options, config=None) == first.options


def test_print_config_needs_no_arguments(run):
    assert "# url = (not set)  # default, command line only" in describe(
        run("--print-config"), "push"
    )


def test_a_field_without_a_mark_or_with_an_unknown_type_is_the_authors_error():
    class NoMark(Shared, frozen=True, kw_only=True):
        bare: int = 1

    class Odd(Shared, frozen=True, kw_only=True):
        odd: Annotated[complex, Flag("odd")] = 1j

    with pytest.raises(TypeError, match="'bare' is neither Annotated"):
        declared(NoMark)
    with pytest.raises(TypeError, match="'odd' has a type that no kind stands for"):
        declared(Odd)
