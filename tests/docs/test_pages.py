"""What pages point to is there, and what they install is what is pinned."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"])
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```", re.DOTALL)
FILE = re.compile(r"`((?:[\w-]+/)*\w+\.py)`")
NOT_OURS = {"auto_login.py"}
"""Of WebArena."""


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*)$", CODE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} is not there"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page):
    if page.name == "CHANGELOG.md":  # what it tells of may be gone
        return
    folders = ("clawjax", "tests", "benchmarks", "experiments", "scripts")
    files = [f"/{file.relative_to(ROOT)}" for each in folders for file in (ROOT / each).rglob("*")]
    named = set(FILE.findall(page.read_text())) - NOT_OURS
    gone = {name for name in named if not any(file.endswith(f"/{name}") for file in files)}
    assert not gone


@pytest.mark.parametrize("page", ["README.md", "docs/scaling.md"])
def test_the_jax_for_accelerators_is_the_one_that_is_pinned(page):
    pinned = re.search(r"^jax==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert pinned is not None
    told = re.findall(r"jax\[(?:cuda\d+|tpu)\]==([\d.]+\d)", (ROOT / page).read_text())
    assert len(told) >= 2
    assert set(told) == {pinned[1]}
