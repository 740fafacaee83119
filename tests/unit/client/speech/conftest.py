import importlib.util

import pytest


def _need(module):
    if importlib.util.find_spec(module) is None:
        pytest.fail(f"{module} is missing; these tests need the extra: pip install -e '.[demo]'")


@pytest.fixture(scope="session")
def espeak_installed():
    _need("espeakng_loader")


@pytest.fixture(scope="session")
def transcriber():
    """One recogniser for all tests: it takes half a second to load."""
    _need("pocketsphinx")
    from moqvox_client.speech.stt import Transcriber

    with Transcriber(workers=1) as made:
        yield made
