"""What practice does, and how far an update may lead, in words. Pure text from configuration."""

from __future__ import annotations

from clawjax.config import LearnerConfig, PracticeConfig

__all__ = ["bound_words", "practice_words"]


def practice_words(practice: PracticeConfig) -> list[str]:
    """What is asked again, for whom, and how far that may lead; empty where nothing is."""
    if practice.rounds == 0:
        return []
    kept = "all" if practice.kept is None else f"the {practice.kept} whose f vary most"
    above = f" (above {practice.min_foresight:g})" if practice.min_foresight > 0 else ""
    lines = [
        f"practice: an update by L is followed by {practice.rounds} by L_practice, for the same "
        f"version, on answers that nobody asked for: by the policy to each of {practice.prompts} "
        f"earlier questions {practice.samples} of at most {practice.max_response_tokens} tokens, "
        f"of which {kept} are learnt from; its means are over these",
        "f: the score that a user's reactions foretell of an answer; Q: the answers to a question "
        "that are learnt from; scaled: to a root mean square of at most 1",
        f"who is practised for: users of the batch with k > 0, k = min(1, (rho^2 - 2 / N) / "
        f"{practice.full_foresight**2:g}); rho{above} is the correlation of their N reactions "
        f"with what the others foretell of each, for N of {practice.min_scored} or more, with "
        f"{practice.min_of_each} or more of praise and of complaint; k is 0 where less is known",
        f"an update by L_practice leads at most {practice.max_reply_kl / practice.rounds**2:g} k "
        "nats per reply, by KL(after || before), k being the least of those practised for",
    ]
    if practice.listen > 0:
        lines.append(f"a user's first {practice.listen} reactions are only remembered while k is 0")
    return lines


def bound_words(practice: PracticeConfig, learner: LearnerConfig) -> list[str]:
    """How far a step on what users said may lead, and when there is none."""
    lines, drift, rests = [], learner.drift, learner.rest_above
    if drift.max_step_reply_kl is not None:
        factors = [f"{drift.max_step_reply_kl:g} nats per reply, by KL(after || before)"]
        if drift.eases:
            top = 1.0 if rests is None else rests
            eased = f"({top:g} - mean(s)) / {top + 1:g}, from 0 to 1"
            factors.append(f"the mean over users of {eased}")
        if practice.rounds > 0 and practice.blind_share is not None:
            factors.append(f"the mean over turns of max({practice.blind_share:g}, their user's k)")
        lines.append(f"an update by L leads at most {', times '.join(factors)}")
    if rests is not None:
        lines.append(f"users whose mean(s) in a batch is above {rests:g} are not learnt from there")
    return lines
