"""Versions as rows of capabilities."""

import pytest

from moqvox.errors import LocalError
from moqvox.wire.version import LITE_ALPNS, lite_version


def test_the_newest_version_is_preferred():
    assert LITE_ALPNS == ("moq-lite-06", "moq-lite-05", "moq-lite-04", "moq-lite-03")


def test_a_version_is_found_by_its_alpn():
    assert [lite_version(alpn).alpn for alpn in LITE_ALPNS] == list(LITE_ALPNS)


@pytest.mark.parametrize("alpn", ["moq-lite-02", "moq-lite-06-wip", "moqt-18", ""])
def test_an_unknown_version_is_the_callers_error_and_names_the_known(alpn):
    with pytest.raises(LocalError, match="moq-lite-06, moq-lite-05"):
        lite_version(alpn)
