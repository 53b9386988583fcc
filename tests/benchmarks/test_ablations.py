"""Ablations that are measured in parts come together, and what they show is computed."""

from typing import Any

from ablations import FAR_BEHIND, SWEEPS, goals, merged


def row(ablation: str, preset: str = "none", seed: int = 0, score: float = 0.5) -> dict[str, Any]:
    return {
        "ablation": ablation,
        "setting": f"staleness=16, preset={preset}",
        "seed": seed,
        "style_score": score,
        "dropped": {},
    }


def test_a_part_replaces_its_own_rows_and_keeps_the_others_in_order():
    before = [row("lora_rank"), row(FAR_BEHIND, score=0.1), row("staleness"), row("gone")]
    found = merged([row(FAR_BEHIND, score=0.9)], before, measured=[FAR_BEHIND])
    assert [each["ablation"] for each in found] == ["staleness", FAR_BEHIND, "lora_rank"]
    assert found[1]["style_score"] == 0.9


def test_a_correction_is_ahead_where_it_is_on_every_seed():
    plain = [row(FAR_BEHIND, "none", seed, 0.4) for seed in range(3)]
    good = [row(FAR_BEHIND, "decoupled", seed, 0.9) for seed in range(3)]
    ahead = goals([*plain, *good])[-1]
    assert (ahead.value, ahead.met) == (3, True)
    good[1]["style_score"] = 0.4
    ahead = goals([*plain, *good])[-1]
    assert (ahead.value, ahead.met) == (2, False)
    assert not goals(good)[-1].met, "there is nothing to be ahead of"


def test_all_sweeps_are_wanted():
    measured, _, _ = goals([row(name) for name in SWEEPS])
    assert (measured.target, measured.met) == (19 + 4, False)
