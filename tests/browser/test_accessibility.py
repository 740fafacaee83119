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


async def ask(page: Page) -> list[str]:
    """What axe finds in either colour scheme; colours do not fade over meanwhile."""
    found = []
    for scheme in ("light", "dark"):
        wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        await page.do("Emulation.setEmulatedMedia", features=features)
        found += [f"{scheme}: {line}" for line in await page.run(ASK)]
    return found


def test_nothing_stands_in_the_way_of_a_turn_and_an_interruption(axe, tmp_path):
    async def main():
        found = {}
        microphone = microphone_wav(tmp_path, speech_pcm("amiable-woman"), before=0.3)
        async with stage(agent, microphone=microphone) as (page, _network, _link):
            await page.do("Runtime.evaluate", expression=axe)
            await ready(page)
            found["ready"] = await ask(page)
            await page.press(" ", up=False)
            await page.until(f"{TALK}.turns.last?.speech?.frames > 50")
            found["talking"] = await ask(page)
            await page.press(" ", down=False)
            await page.until(f"{INSIDE}.querySelectorAll('.word')[1]?.className === 'word now'")
            found["answering"] = await ask(page)
            await page.run("document.getElementById('outage').focus()")
            await page.press("Escape")
            await page.until(f"{INSIDE}.querySelector('.cut').textContent")
            found["interrupted"] = await ask(page)
        return found

    found = run(main(), virtual=False)
    assert list(found) == ["ready", "talking", "answering", "interrupted"]
    assert not any(found.values()), found


def test_a_browser_that_lacks_something_is_told_so_legibly(axe):
    async def main():
        async with site({"url": "https://localhost:1/"}) as web, chromium() as page:
            gone = "delete AudioEncoder"
            await page.do("Page.addScriptToEvaluateOnNewDocument", source=gone)
            await page.open(web.url)
            await page.until(f"{STATUS}.includes('Chrome')")
            await page.do("Runtime.evaluate", expression=axe)
            label = await page.run(f"{INSIDE}.querySelector('.label').textContent")
            return label, await ask(page)

    assert run(main(), virtual=False) == ("Not in this browser", [])
