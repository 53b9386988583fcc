"""What a page fills in after it has loaded, in a real browser."""

import pytest

from clawjax.evals.suites.miniwob.pages import PageServer
from clawjax.evals.suites.webarena.checks import content_of
from clawjax.evals.suites.webarena.helpers import Context
from clawjax.evals.web.chromium import browser_problem
from clawjax.evals.web.windows import Windows

pytestmark = pytest.mark.skipif(browser_problem() is not None, reason=str(browser_problem()))

PAGE = """<h1>Orders</h1><p id="told"></p><script>
const fill = () => { told.textContent = "order 17"; };
addEventListener("load", () => setTimeout(fill, location.hash.slice(1)));
</script>"""
SOON_MS, NEVER_MS = 400, 60_000


@pytest.fixture(scope="module")
def windows():
    with Windows(["127.0.0.1"]) as windows:
        yield windows


@pytest.fixture
def url(tmp_path):
    (tmp_path / "orders.html").write_text(PAGE)
    server = PageServer(tmp_path)
    yield f"{server.url}/orders.html"
    server.close()


def test_the_first_page_is_seen_when_it_has_settled(windows, url):
    window = windows.open(origins=[url], settle_s=1.0)
    window.open([f"{url}#{SOON_MS}"])
    assert "order 17" in window.look().text


@pytest.mark.parametrize("is_live", [True, False])
def test_a_live_sites_page_is_checked_when_it_has_settled(windows, url, is_live):
    url = f"{url}#{SOON_MS if is_live else NEVER_MS}"
    target = {"url": url, "locator": "document.body.innerText", "prep_actions": []}
    window = windows.open(origins=[url])
    content = content_of(target, window, Context(url, {}, {}, is_live=is_live))
    assert ("order 17" in content) == is_live
