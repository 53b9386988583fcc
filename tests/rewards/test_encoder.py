import numpy as np
import pytest

from clawjax.rewards.encoder import BertEncoder, packaged_encoder_path


@pytest.fixture(scope="module")
def encoder() -> BertEncoder:
    return BertEncoder(packaged_encoder_path())


def embed(encoder: BertEncoder, text: str) -> np.ndarray:
    mean = encoder.states(text).mean(0)
    return mean / np.linalg.norm(mean)


def test_similarities_are_those_the_models_authors_publish(encoder):
    # sbert.net, "Computing Embeddings": all-MiniLM-L6-v2 on these sentences.
    eats, bread, violin = (
        embed(encoder, text)
        for text in (
            "A man is eating food.",
            "A man is eating a piece of bread.",
            "A woman is playing violin.",
        )
    )
    assert eats @ bread == pytest.approx(0.7553, abs=5e-4)
    assert eats @ violin == pytest.approx(-0.0704, abs=5e-3)


def test_of_long_texts_the_start_and_the_end_are_kept(encoder):
    ids = encoder.token_ids("start " + "word " * 1000 + "end")
    assert len(ids) == 128
    short = encoder.token_ids("start")[:2], encoder.token_ids("end")[-2:]
    assert (ids[:2], ids[-2:]) == short


def test_updates_change_the_states_and_set_the_depth(encoder):
    name = "encoder.layer.1.output.dense.bias"
    same = BertEncoder(packaged_encoder_path(), updates={name: np.zeros(384, np.float32)})
    moved = BertEncoder(packaged_encoder_path(), updates={name: np.ones(384, np.float32)})
    assert same.num_layers == 2
    assert encoder.num_layers == 6
    before, after = same.states("hello there"), moved.states("hello there")
    assert before.shape == (4, 384)
    assert not np.allclose(before, encoder.states("hello there"))
    assert not np.allclose(before, after)
