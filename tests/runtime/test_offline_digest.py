"""Which folders a run on a data set goes on in."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import pytest

from clawjax.config import ObjectiveConfig, OfflineConfig, RunConfig, RunSection, additions
from clawjax.data.preferences import Preference, Provenance
from clawjax.records import Message
from clawjax.runtime.offline_digest import is_learnt_from, learnt_from

ROWS = [
    Preference(
        (Message("user", "Hello?"),),
        Message("assistant", "Hello."),
        Message("assistant", "What?"),
        Provenance.HUMAN,
    )
]
BEFORE = RunConfig(offline=OfflineConfig(files=["a.jsonl"]))


@dataclass
class Later(ObjectiveConfig):
    """As a later version may have it."""

    added: float = 0.0


@pytest.fixture
def with_addition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(additions._ADDITIONS, "objective.added", Later)


@pytest.mark.usefixtures("with_addition")
def test_a_setting_that_came_later_counts_where_it_is_not_at_its_default() -> None:
    held = learnt_from(BEFORE, ROWS)
    assert is_learnt_from(held, replace(BEFORE, objective=Later()), ROWS)
    assert not is_learnt_from(held, replace(BEFORE, objective=Later(added=0.1)), ROWS)


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"offline": OfflineConfig(files=["moved.jsonl"], batches=9)}, True),
        ({"offline": OfflineConfig(batch_rows=8)}, False),
        ({"objective": ObjectiveConfig(kl_coef=0.5)}, False),
        ({"run": RunSection(seed=1)}, False),
    ],
)
def test_what_changes_the_batches_or_what_is_learnt_of_them_counts(
    change: dict[str, Any], is_same: bool
) -> None:
    held = learnt_from(BEFORE, ROWS)
    assert is_learnt_from(held, replace(BEFORE, **change), ROWS) == is_same
    assert not is_learnt_from(held, BEFORE, [replace(ROWS[0], user="ann")])


def test_a_folder_of_an_earlier_version_is_gone_on_with() -> None:
    offline = replace(BEFORE.offline, files=[], batches=None)
    as_told = repr((BEFORE.objective, offline, BEFORE.run.seed, *ROWS))
    held = hashlib.sha256(as_told.encode()).hexdigest()
    assert is_learnt_from(held, BEFORE, ROWS)
    assert not is_learnt_from(held, BEFORE, [replace(ROWS[0], user="ann")])
