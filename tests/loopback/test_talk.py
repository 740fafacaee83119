"""`moqvox talk` and a relay over real sockets, on a virtual clock."""

import io
import json

import pytest
from tests import aio
from tests.loopback.relays import running, url
from tests.unit.client.verbs.sounds import ogg_file

from moqvox_client.output import Output
from moqvox_client.supervise import FAILED, guard
from moqvox_client.verbs import talk

pytestmark = pytest.mark.net


@pytest.mark.parametrize("scheme", ["moqt", "https"])
def test_a_relay_without_an_agent_is_waited_at_for_the_patience_and_no_longer(tmp_path, scheme):
    out, err = io.StringIO(), io.StringIO()
    output = Output(json=True, stdout=out, stderr=err)
    source = ogg_file(tmp_path / "a.ogg")

    async def main() -> int:
        async with running() as relay:
            options = talk.Options(
                url=url(relay, "/room", scheme),
                tls_fingerprint=(relay.where.fingerprint,),
                source=(str(source),),
                patience=3.0,
            )
            return await talk.run(options, output)

    assert guard(lambda: aio.run(main(), sockets=True), output) == FAILED
    why = f"no agent answered within 3 s: nobody heard {source} (15 frames, 0.30 s)"
    assert err.getvalue().splitlines() == [
        "no agent has answered yet; waiting",
        f"moqvox: {why}",
    ]
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"event": "done", "ok": False, "error": why, "exit_code": FAILED}
    ]
