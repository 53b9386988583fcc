"""Shared by all tests: no accelerators or stray network; programs are compiled fast, and once."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # tests compile more than they compute
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # tests start a hundred processes
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # workers and what tests start inherit it
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="clawjax_xla_")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import pytest
from hypothesis import settings
from tokenizers import Tokenizer, decoders, models, normalizers

from clawjax.models.template import CHATML, ChatTemplate
from clawjax.models.tokenizer import ChatTokenizer

settings.register_profile("clawjax", deadline=None)  # busy machines are waited for
settings.load_profile("clawjax")


_PIECES = ["<unk>", "<s>", "</s>", *"\u2581Onceupo", "On", "ce", "Once", "up", "on", "upon"]
_MERGES = [("O", "n"), ("c", "e"), ("On", "ce"), ("u", "p"), ("o", "n"), ("up", "on")]


@pytest.fixture(scope="session")
def spacing_tokenizer() -> ChatTokenizer:
    """Few words, and a space put before every text and taken away again, as in Llama 2's."""
    words = [f"\u2581{word}" for word in ("Once", "upon")]
    merges = [*_MERGES, *(("\u2581", word[1:]) for word in words)]
    vocabulary = {piece: place for place, piece in enumerate([*_PIECES, *words])}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    made.add_special_tokens(["<s>", "</s>"])
    return ChatTokenizer(made, ChatTemplate(CHATML), eos_ids=frozenset({vocabulary["</s>"]}))


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to import modules from, which other tests find nothing of."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if tmp_path in Path(getattr(module, "__file__", None) or "").parents:
            del sys.modules[name]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("clawjax")
    group.addoption("--sglang-url", help="test this server's conformance instead of our own")
    group.addoption("--sglang-api-key", help="its bearer key")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that workers, which take small ones last, end alike."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)
