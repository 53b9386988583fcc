"""docs/scaling.md says what its command writes."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def page_script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import scaling_page

    yield scaling_page
    sys.modules.pop("scaling_page", None)


def test_the_page_is_up_to_date(page_script):
    page = page_script.PAGE.read_text(encoding="utf-8")
    assert page == page_script.updated(page), "run python experiments/scaling_page.py"


def test_a_page_without_the_places_is_refused(page_script):
    with pytest.raises(AssertionError, match="has no place for plans"):
        page_script.updated("# nothing")


def test_simulated_turns_are_called_simulated(page_script):
    page = page_script.PAGE.read_text(encoding="utf-8")
    assert "(simulated)" in page.split("<!-- projection -->")[0].split("## ")[-1]
