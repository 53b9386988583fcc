import json
from pathlib import Path

import pytest
from tokenizers import AddedToken

from clawjax.errors import ConfigError
from clawjax.models.bpe import byte_level_bpe

SPLITS = json.loads((Path(__file__).parent / "data" / "splits.json").read_text(encoding="utf-8"))
MERGES = [tuple(merge) for merge in SPLITS["merges"]]
SPECIAL = [AddedToken(token, special=True, normalized=False) for token in SPLITS["special"]]


@pytest.mark.parametrize("pre", sorted(SPLITS["ids"]))
def test_splits_text_as_the_family_does(pre):
    tokenizer = byte_level_bpe(
        SPLITS["tokens"], MERGES, pre=pre, added=SPECIAL, ignore_merges=False
    )
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in SPLITS["texts"]]
    assert ids == SPLITS["ids"][pre]


def test_the_splits_differ_on_these_texts():
    assert len({json.dumps(ids) for ids in SPLITS["ids"].values()}) == len(SPLITS["ids"])


def test_an_unknown_split_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'deepseek-llm'.*smollm"):
        byte_level_bpe(["a"], [], pre="deepseek-llm")


def test_merges_of_unknown_tokens_are_refused():
    with pytest.raises(ConfigError, match="merges do not fit"):
        byte_level_bpe(["a", "b"], [("a", "c")], pre="gpt2")
