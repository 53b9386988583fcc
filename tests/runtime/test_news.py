"""Refusals and rollbacks are told once."""

import numpy as np

from clawjax.runtime.news import WeightNews
from clawjax.weights import DirectoryWeightStore


def publish(store, version, *, parent, refused=None):
    store.publish(
        {"x": np.full(8, version, np.float32)},
        version=version, parent=parent, step=version, base_model="m", kind="adapter",
        config={}, refused=refused,
    )  # fmt: skip


def test_what_happens_is_told_once_and_what_happened_before_is_not(tmp_path):
    store = DirectoryWeightStore(tmp_path)
    publish(store, 1, parent=0, refused="long ago")
    news = WeightNews(store)
    assert news.read() == []
    publish(store, 2, parent=0)
    publish(store, 3, parent=2, refused="KL is 0.5")
    assert news.read() == ["Version 3 is kept and not served: KL is 0.5"]
    store.point_to(0)
    store.point_to(0)
    assert news.read() == ["Version 0 is served in place of 2, as somebody asked"]
    assert news.read() == []


def test_a_store_that_cannot_be_read_is_no_news(tmp_path, caplog):
    news = WeightNews(DirectoryWeightStore(tmp_path))
    (tmp_path / "ROLLBACKS").write_text("?")
    assert news.read() == []
    assert "no news of versions" in caplog.text
