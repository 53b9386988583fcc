"""The one table of metric keys: what is recorded, in which unit, by whom.

`docs/metrics.md` is this table, rendered. Invariant: a key has one unit and one meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["KEYS", "Key", "describe", "render_table", "unknown_keys"]


class Key(NamedTuple):
    """One metric. A name that ends in `*` stands for every key with that beginning."""

    name: str
    unit: str
    meaning: str


KEYS: tuple[Key, ...] = (
    # The learner, once per step; `step` is the policy version that the step made.
    Key("train/version", "version", "policy version that the step made"),
    Key(
        "train/objective",
        "text",
        "formula of what the step minimised: terms that had turns, practice",
    ),
    Key("train/terms", "text", "how many turns, or answers, fed each term, and why others did not"),
    Key("train/loss", "nats", "what the step minimised: all terms, each with its weight"),
    Key(
        "train/rl_loss",
        "nats",
        "the scores' term alone, mean over their turns' tokens; absent where there are none",
    ),
    Key(
        "train/opd_loss",
        "nats",
        "the hints' term alone, mean over the taught turns' tokens; absent where none is",
    ),
    Key("train/dpo_loss", "nats", "DPO's loss, mean over pairs"),
    Key("train/dpo_margin", "nats", "mean log-ratio to the base of chosen less rejected replies"),
    Key("train/dpo_accuracy", "share", "pairs whose margin is above 0"),
    Key("train/dpo_pairs", "pairs", "replies to the same prompt with different scores"),
    Key("train/teacher_gap", "nats/token", "mean log-prob of teacher less policy on those"),
    Key("train/kl", "nats/token", "KL to the base model on the batch; absent where unweighted"),
    Key("train/entropy", "nats/token", "entropy of the policy on the batch"),
    Key("train/reward_mean", "score", "mean score of the batch's turns, -1 to 1"),
    Key("train/trajectories", "episodes", "whose steps were credited together"),
    Key("train/steps_labelled", "turns", "those of the batch that have labels as steps"),
    Key("train/process_mean", "score", "mean worth of these as steps, -1 to 1"),
    Key("train/replayed_turns", "turns", "earlier praised turns that the step learnt from again"),
    Key("train/rested", "1", "1 where turns were not trained on: their users are content, or new"),
    Key("train/ema_score", "score", "moving average of such means: the default baseline"),
    Key("train/advantage_mean", "score", "mean credit after the baseline"),
    Key("train/advantage_std", "score", "its spread"),
    Key("train/ratio_mean", "ratio", "mean importance ratio trainer/sampler"),
    Key("train/ratio_max", "ratio", "the largest, before truncation"),
    Key("train/clip_fraction", "share", "tokens that a clip or an off-policy mask silences"),
    Key("train/ess", "share", "effective sample size of the ratios, 1 when on-policy"),
    Key(
        "train/mean_abs_logprob_diff",
        "nats",
        "mean |trainer - sampler| at the same version, of replies without a filter or a grammar",
    ),
    Key("train/max_abs_logprob_diff", "nats", "the largest such difference"),
    Key(
        "train/mismatch_kl",
        "nats/token",
        "mean of r - 1 - log r, r = trainer/sampler: KL of the sampler to the trainer there",
    ),
    Key("train/mismatch_tokens", "tokens", "tokens that these three are over"),
    Key(
        "train/mean_abs_logprob_diff_all",
        "nats",
        "mean |trainer - sampler| over all response tokens, stale and filtered ones too",
    ),
    Key("train/max_abs_logprob_diff_all", "nats", "the largest such difference"),
    Key("train/mismatch_kl_all", "nats/token", "mean of r - 1 - log r over all response tokens"),
    Key("train/staleness_mean", "versions", "mean distance between sampling and training"),
    Key("train/staleness_max", "versions", "the largest in the batch"),
    Key("train/turns", "turns", "turns in the batch"),
    Key("train/largest_key_share", "share", "of the batch, of the key that most of it is of"),
    Key("train/rl_turns", "turns", "those with a score"),
    Key("train/opd_turns", "turns", "those with a hint that was taught by"),
    Key("train/opd_skipped/*", "turns", "those without, by reason, e.g. `no_hint`"),
    Key("train/turns_total", "turns", "turns trained on since the run began"),
    Key("train/tokens", "tokens", "response tokens in the batch"),
    Key("train/tokens_total", "tokens", "response tokens trained on since the run began"),
    Key("train/computed_tokens", "tokens", "token positions computed, padding included"),
    Key("train/padding_fraction", "share", "of the batch that is padding"),
    Key("train/grad_norm", "norm", "global gradient norm before clipping, mean of the update"),
    Key("train/optimizer_steps", "steps", "optimiser steps in the update"),
    Key("train/learning_rate", "1", "step size used"),
    Key("train/seconds", "s", "duration of the step"),
    Key(
        "train/tokens_per_s",
        "tokens/s",
        "response tokens passed through per second of the step",
    ),
    Key("train/practised", "turns", "answers nobody asked for that the step learnt from"),
    Key("train/practice_score", "score", "their mean predicted score, of the last round"),
    Key("train/practice_reach", "nats/reply", "how far a round of them may lead, by foresight"),
    Key("train/practice_reply_kl", "nats/reply", "how far the last round led, where limited"),
    Key("train/practice_loss", "nats", "what the last round minimised"),
    Key(
        "train/practice_grad_norm", "norm", "its gradient norm before clipping, mean of the update"
    ),
    Key(
        "train/practice_clip_fraction",
        "share",
        "of its answers' tokens, silenced by a clip or mask",
    ),
    Key("train/practice_ess", "share", "effective sample size of its ratios"),
    Key("train/refused", "versions", "versions made so far and kept without being served"),
    Key(
        "drift/step_reply_kl",
        "nats/reply",
        "exact KL from before to after the update, on its replies",
    ),
    Key("drift/step_share", "share", "how far the update went of the way that the optimiser took"),
    Key("drift/kl", "nats/token", "exact KL to the base model on replies of the batch, after it"),
    Key(
        "drift/nll_increase", "nats/token", "by how much a fixed text is less likely than at first"
    ),
    # Training on data sets, once per batch.
    Key("data/share/*", "share", "of the batch's rows, by provenance, e.g. `data/share/human`"),
    Key("data/epoch", "epochs", "how often every row has been taken"),
    Key("data/unscored", "replies", "drawn replies that the reward model could not tell about"),
    # Held-out rows of such a run, at its start and its end.
    Key("offline/nll_per_token", "nats/token", "of examples and chosen replies"),
    Key("offline/margin", "nats", "mean log-ratio to the base of chosen less rejected replies"),
    Key("offline/accuracy", "share", "pairs with a margin above 0, ties counting half"),
    # The engine, every `monitor.interval_s`.
    Key("engine/version", "version", "policy version being served"),
    Key("engine/running", "requests", "requests being decoded"),
    Key("engine/waiting", "requests", "requests queued for a slot"),
    Key("engine/tokens_per_s", "tokens/s", "decoding speed over the last seconds with traffic"),
    Key("engine/generated_tokens", "tokens", "tokens generated since start"),
    Key("engine/prompt_tokens", "tokens", "prompt tokens of the replies begun since start"),
    Key("engine/cached_tokens", "tokens", "of those, not read again: their beginning was known"),
    Key("engine/prefix_hit_rate", "share", "their share; absent before the first prompt"),
    # The turn log's balance, every `monitor.interval_s`.
    Key("log/logged", "turns", "turns in the log"),
    Key("log/trained", "turns", "turns trained on"),
    Key("log/pending", "turns", "turns that have not ended yet"),
    Key("log/dropped", "turns", "turns that will never be trained on"),
    Key("log/dropped/*", "turns", "the same by reason, e.g. `log/dropped/stale`"),
    Key("log/linked", "turns", "turns with something after them"),
    # The judges, once per linked turn.
    Key("judge/score", "score", "mean score over the modules; absent where all abstain"),
    Key("judge/scored", "turns", "turns with a score"),
    Key("judge/abstained", "turns", "judged turns without a score"),
    Key("judge/failed", "verdicts", "modules that broke down or ran out of time"),
    Key("judge/waiting", "turns", "linked turns not judged yet"),
    Key("judge/latency_s", "s", "from the reaction arriving to the verdict"),
    # The endpoint.
    Key(
        "gateway/requests", "requests", "requests for a reply, in any dialect, since the run began"
    ),
    Key(
        "gateway/other_requests",
        "requests",
        "all others under `/v1`: feedback, models, token counts; `OPTIONS` are in neither",
    ),
    Key("gateway/non_2xx", "requests", "those of both answered with an error"),
    Key("gateway/unknown_shapes", "requests", "main requests that no rule of linking explains"),
    # Whether the reward is gamed, every `monitor.interval_s`; `step` is the newest version seen.
    Key("hacking/alarm", "1", "1 where the reward rises while the evaluation falls, 0 otherwise"),
    Key("hacking/reward_rise", "score", "of the line through the last versions' mean rewards"),
    Key("hacking/evaluation_fall", "share", "of the line through their evaluations"),
    # Processes.
    Key("process/rss_bytes", "bytes", "resident memory of all processes together"),
    # Held-out prompts, before (step 0) and after.
    Key("eval/style_score", "share", "mean style score on held-out prompts"),
    Key("eval/mean_words", "words", "mean reply length on held-out prompts"),
    Key("eval/kl_per_token", "nats/token", "exact KL to the base model on those replies"),
    # Evaluations, as they go on; sweeps prune by these and optimise the last one.
    Key("evaluation/score", "score", "mean over what was scored so far, then the final score"),
    Key("evaluation/parts", "parts", "episodes or trials so far, unscored ones as well"),
    # Suites of tasks, by name; `step` is the policy version where there is one.
    Key("suite/*", "share", "`suite/NAME/success`, `score` and `unscored` of the episodes played"),
    # What a simulated user saw, once per turn.
    Key("user/style", "share", "style score of the reply; the judges never see it"),
    Key("user/words", "words", "its length"),
    Key("user/latency_s", "s", "from the request to the reply's last token"),
    Key("user/first_token_s", "s", "from the request to the reply's first text"),
)

_EXACT = {key.name: key for key in KEYS}
_PREFIXES = tuple(key for key in KEYS if key.name.endswith("*"))


def describe(name: str) -> Key | None:
    """The table's entry for a key; None where there is none."""
    if name in _EXACT:
        return _EXACT[name]
    return next((key for key in _PREFIXES if name.startswith(key.name[:-1])), None)


def unknown_keys(names: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that the table does not have."""
    return tuple(name for name in names if describe(name) is None)


def render_table() -> str:
    """The table in Markdown."""
    rows = [f"| `{key.name}` | {key.unit} | {key.meaning} |" for key in KEYS]
    return "\n".join(("| key | unit | meaning |", "| --- | --- | --- |", *rows)) + "\n"
