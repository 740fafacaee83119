"""The page in its states, asked by axe-core what stands in the way of whom."""

import pytest
from interop.environment import EnvironmentUnavailable, modules_of
from tests.aio import run
from tests.browser.chromium import Page, chromium
from tests.browser.site import site
from tests.browser.stage import microphone_wav, speech_pcm, stage
from tests.browser.test_page import INSIDE, STATUS, TALK, agent, ready

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(90)]

ASK = """
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.flatMap(({ id, nodes }) => nodes.map(({ target, any }) =>
        `${id} at ${target.join(" ")}: ${any.map(({ message }) => message).join("; ")}`));
"""


@pytest.fixture(scope="module")
def axe():
    """The checker's own script."""
    try:
        return (modules_of("npm") / "axe-core" / "axe.min.js").read_text()
    except EnvironmentUnavailable as exc:
        pytest.skip(f"axe-core from npm is not to be had: {exc}")


async def prefer(page: Page, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    await page.do("Emulation.setEmulatedMedia", features=features)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_a_turn_and_an_interruption(axe, scheme, tmp_path):
    async def main():
        found = {}
        microphone = microphone_wav(tmp_path, speech_pcm("amiable-woman"), before=0.3)
        async with stage(agent, microphone=microphone) as (page, _network, _link):
            await prefer(page, scheme)
            await page.do("Runtime.evaluate", expression=axe)
            await ready(page)
            found["ready"] = await page.run(ASK)
            await page.press(" ", up=False)
            await page.until(f"{TALK}.turns.last?.speech?.frames > 50")
            found["talking"] = await page.run(ASK)
            await page.press(" ", down=False)
            await page.until(f"{INSIDE}.querySelectorAll('.word')[1]?.className === 'word now'")
            found["answering"] = await page.run(ASK)
            await page.run("document.getElementById('outage').focus()")
            await page.press("Escape")
            await page.until(f"{INSIDE}.querySelector('.cut').textContent")
            found["interrupted"] = await page.run(ASK)
        return found

    found = run(main(), virtual=False)
    assert list(found) == ["ready", "talking", "answering", "interrupted"]
    assert not any(found.values()), found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_that_lacks_something_is_told_so_legibly(axe, scheme):
    async def main():
        async with site({"url": "https://localhost:1/"}) as web, chromium() as page:
            await prefer(page, scheme)
            gone = "delete AudioEncoder"
            await page.do("Page.addScriptToEvaluateOnNewDocument", source=gone)
            await page.open(web.url)
            await page.until(f"{STATUS}.includes('Chrome')")
            await page.do("Runtime.evaluate", expression=axe)
            label = await page.run(f"{INSIDE}.querySelector('.label').textContent")
            return label, await page.run(ASK)

    assert run(main(), virtual=False) == ("Not in this browser", [])
