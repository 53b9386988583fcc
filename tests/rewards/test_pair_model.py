"""A reward model of a few dozen pairs."""

import numpy as np
import pytest

from clawjax.data.preferences import Preference, Provenance
from clawjax.data.scoring import ReplyScorer
from clawjax.errors import ConfigError, DataError
from clawjax.records import Message
from clawjax.rewards.pair_model import PairModel

ASKED = (Message("user", "Why?"),)


def views(text: str) -> tuple[np.ndarray, ...]:
    """Wide noise, and the length alone."""
    noise = np.random.default_rng(abs(hash(text)) % 2**32).normal(size=200)
    return noise, np.array([float(len(text))])


def pairs(count: int, *, first: int = 0) -> list[Preference]:
    """Somebody likes short replies."""
    return [
        Preference(
            ASKED,
            Message("assistant", f"{n} " * (2 + n % 3)),
            Message("assistant", f"{n} " * (9 + n % 4)),
            Provenance.HUMAN,
        )
        for n in range(first, first + count)
    ]


def test_what_was_liked_about_some_pairs_orders_others(tmp_path):
    model = PairModel.fit(pairs(30), views)
    assert isinstance(model, ReplyScorer)
    assert model.accuracy(pairs(30, first=50)) == 1.0
    good, bad = model.score(ASKED, "7 7"), model.score(ASKED, "7 " * 12)
    assert good is not None
    assert bad is not None
    assert -1 < bad < 0 < good < 1
    assert model.score(ASKED, "  ") is None
    model.save(tmp_path / "model.safetensors")
    again = PairModel.load(tmp_path / "model.safetensors", views)
    assert again.score(ASKED, "7 7") == good


def test_without_pairs_there_is_no_model(tmp_path):
    with pytest.raises(DataError, match="there are none"):
        PairModel.fit([], views)
    with pytest.raises(ConfigError, match="is no reward model"):
        PairModel.load(tmp_path / "none.safetensors", views)
