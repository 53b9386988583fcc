import hashlib
import itertools
import json
import random

import numpy as np
import pytest
from turn_records import make_turn

from clawjax.config import RewardModelConfig
from clawjax.errors import ConfigError, RewardError, StoreError
from clawjax.protocols import Reward
from clawjax.records import Message, NextState, NextStateKind
from clawjax.rewards.preference_features import FeatureReader, PreferencePair, prompt_text
from clawjax.rewards.reward_head import Opinion, RewardHead
from clawjax.rewards.reward_model import RewardModelReward, score_opinion
from clawjax.rewards.reward_store import RewardModelStore
from clawjax.rewards.stored_scorer import StoredScorer
from clawjax.rewards.train_reward_model import Settings, split_of, train_version

from .reward_records import session_closed, user_says

SETTINGS = Settings(members=4, l2=(0.01, 0.1))
WORDS = ["apple", "river", "stone", "cloud", "green", "train", "window", "music", "paper", "garden"]


class WordEncoder:
    """A state per word, drawn from the word itself: as good as an encoder, and quick."""

    def states(self, text: str) -> np.ndarray:
        seeds = [int(hashlib.sha256(word.encode()).hexdigest()[:8], 16) for word in text.split()]
        return np.stack(
            [np.random.default_rng(s).normal(size=24).astype(np.float32) for s in seeds]
        )


READER = FeatureReader(WordEncoder())  # pyright: ignore[reportArgumentType]


def polite_pairs(count: int, seed: int, *, is_flipped: bool = False) -> list[PreferencePair]:
    """The reply with `please` is preferred, or the other one."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        words = " ".join(rng.choices(WORDS, k=8))
        pair = (f"please {words}", f"never {words}")
        made.append(
            PreferencePair(
                f"question {number} {rng.choice(WORDS)}",
                pair[is_flipped],
                pair[not is_flipped],
                provenance="human",
            )
        )
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    store = RewardModelStore(tmp_path_factory.mktemp("models"))
    return store, train_version(polite_pairs(160, 0), store, READER, SETTINGS)


def test_a_model_that_beats_a_coin_is_adopted_with_what_was_measured(trained):
    store, first = trained
    assert first.is_adopted
    assert store.adopted() == first.stored.version == 1
    assert first.quality.accuracy > 0.9
    assert first.quality.loss < np.log(2)
    assert sum(count for _, _, count in first.quality.curve) == first.quality.pairs
    manifest = json.loads(json.dumps(store.load().manifest))
    assert manifest["quality"]["ece"] == pytest.approx(first.quality.ece)
    assert manifest["provenance"] == {"human": 160}
    assert sum(manifest["pairs"].values()) == 160


def test_one_that_is_worse_on_held_out_pairs_is_kept_and_does_not_judge(trained):
    store, _ = trained
    prompts = polite_pairs(160, 0)
    # Wrong where it learns, right where it is held to account.
    spoilt = [
        pair
        if split_of(pair.prompt) == "held_out"
        else pair._replace(chosen=pair.rejected, rejected=pair.chosen)
        for pair in prompts
    ]
    second = train_version(spoilt, store, READER, SETTINGS)
    assert not second.is_adopted
    assert second.rival is not None
    assert second.quality.accuracy < 0.1 < 0.9 < second.rival.accuracy
    assert (store.adopted(), store.versions()) == (1, [1, 2])


def test_the_same_pairs_make_the_same_model(trained, tmp_path):
    _, first = trained
    again = train_version(polite_pairs(160, 0), RewardModelStore(tmp_path), READER, SETTINGS)
    assert again.stored.digest == first.stored.digest


async def test_it_scores_replies_and_says_by_which_version(trained):
    store, _ = trained
    reward = RewardModelReward(RewardModelConfig(path=str(store._folder), version=1), READER)
    assert isinstance(reward, Reward)
    good = await reward.judge(make_turn(reply="please apple river stone"), user_says("Hm."))
    bad = await reward.judge(make_turn(reply="never apple river stone"), session_closed())
    assert good.score is not None
    assert bad.score is not None
    assert good.score > 0.2 > -0.2 > bad.score
    assert good.explanation.startswith("version 1:")
    assert [part.module for part in good.components] == ["probability", "disagreement"]
    told = NextState("t1", NextStateKind.FEEDBACK, 1.0, score=1.0)
    assert not reward.applies(make_turn(), told)
    assert not reward.applies(make_turn(reply=Message("assistant")), user_says("Hm."))


@pytest.mark.parametrize(
    ("probability", "disagreement", "is_graded", "score"),
    [
        (0.9, 0.05, True, 0.8),
        (0.9, 0.05, False, 1.0),
        (0.1, 0.05, False, -1.0),
        (0.9, 0.3, True, None),
        (0.55, 0.0, True, None),
    ],
)
def test_members_that_disagree_and_doubt_abstain(probability, disagreement, is_graded, score):
    config = RewardModelConfig(is_graded=is_graded)
    found = score_opinion(Opinion(probability, disagreement), config)
    assert found == (score if score is None else pytest.approx(score))


def test_swapping_the_replies_turns_the_opinion_round(trained):
    head = trained[1].stored.head
    a, b = (READER.read("question", text) for text in ("please apple", "never apple"))
    assert head.compare(a, b).probability + head.compare(b, a).probability == pytest.approx(1.0)
    assert head.compare(a, a).probability == pytest.approx(0.5)


def test_offline_runs_ask_the_adopted_version_which_says_nothing_where_its_members_disagree(
    trained, tmp_path
):
    store, _ = trained
    folder, asked = store._folder, (Message("user", "question 1 river"),)
    scorer = StoredScorer(folder, max_disagreement=0.5, reader=READER)
    assert scorer.version == store.adopted()
    polite, rude = (scorer.score(asked, f"{word} river stone") for word in ("please", "never"))
    assert polite is not None
    assert rude is not None
    assert -1 <= rude < polite <= 1
    assert scorer.score(asked, " ") is None
    strict = StoredScorer(folder, max_disagreement=0.0, reader=READER)
    assert strict.score(asked, "please river stone") is None
    with pytest.raises(ConfigError, match="no adopted reward model"):
        StoredScorer(tmp_path, max_disagreement=0.5, reader=READER)


def test_a_prompt_is_in_one_part_only_and_the_parts_have_their_shares():
    parts = [split_of(f"prompt {i}") for i in range(2000)]
    assert parts.count("train") == pytest.approx(1200, abs=80)
    assert parts.count("held_out") == pytest.approx(400, abs=60)


def test_what_cannot_be_trained_or_read_is_told(trained, tmp_path):
    with pytest.raises(RewardError, match=r"are for .* are needed"):
        train_version(polite_pairs(6, 0), RewardModelStore(tmp_path), READER, SETTINGS)
    with pytest.raises(ConfigError, match="no adopted reward model: train one"):
        RewardModelReward(RewardModelConfig(path=str(tmp_path)), READER)
    store = RewardModelStore(tmp_path)
    ones = np.ones(3, np.float32)
    stored = store.write(RewardHead(ones, ones, ones[None], ones[:1], 1.0), {})
    file = next(tmp_path.glob("000001/model.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="not what its manifest says"):
        store.load(stored.version)
    with pytest.raises(StoreError, match="no version 7"):
        store.adopt(7)


def test_the_prompt_is_the_last_message_with_words():
    messages = [Message("user", "One?"), Message("assistant", " "), Message("tool", "")]
    assert [prompt_text(part) for part in itertools.accumulate([m] for m in messages)] == [
        "One?"
    ] * 3
