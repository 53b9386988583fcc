"""The teacher: the policy, or what it once was, reading what only hindsight knows.

That is the hint that came, and other replies that the user praised. Owns what a turn is taught by,
and what the teacher thinks of the reply as it was sampled. Invariant: a turn whose hint cannot be
used has no teacher, for a named reason; an error never becomes a log-prob.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from clawjax.config import HintChoice, OpdConfig, OpdForm, Support
from clawjax.errors import WireError
from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.demonstrations import demonstrations
from clawjax.learner.guidance import guided
from clawjax.learner.replay_buffer import ReplayBuffer
from clawjax.learner.scoring import Model, Scored, Scorer
from clawjax.log.replay import to_sample
from clawjax.records import Message, Sample, TeacherSays, Turn

__all__ = ["HINT_FORM", "HintTeacher", "Lesson", "Render", "hinted", "preceded"]

HINT_FORM = "\n\n[user's hint / instruction]\n{hint}"
"""How a hint is appended to the last user message, as OpenClaw-RL does."""

Render = Callable[[Sequence[Message], str | None], tuple[int, ...]]
"""`(messages, tools as JSON) -> prompt ids`; `WireError` where the template rejects them."""


class Lesson(NamedTuple):
    """What the teacher had to say about a batch."""

    says: Mapping[str, TeacherSays]
    """By turn."""
    skipped: Mapping[str, int]
    """How many turns have no teacher, by reason."""

    @property
    def metrics(self) -> dict[str, float]:
        """The latter, as they are logged."""
        return {f"train/opd_skipped/{why}": float(count) for why, count in self.skipped.items()}


class _Case(NamedTuple):
    """A turn that can be taught."""

    read: Sample
    """As the policy read it."""
    hinted: Sequence[Sample]
    """The same reply under what the teacher reads, with each of its hints."""
    untold: Sample
    """The same reply under what guidance leads away from."""


def hinted(messages: Sequence[Message], hint: str) -> tuple[Message, ...] | None:
    """The conversation with the hint in its last user message; None where there is none."""
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if message.role == "user":
            told = replace(message, content=message.content + HINT_FORM.format(hint=hint))
            return (*messages[:index], told, *messages[index + 1 :])
    return None


def preceded(messages: Sequence[Message], examples: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation with examples before it, behind what the system says."""
    start = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    return (*messages[:start], *examples, *messages[start:])


class HintTeacher:
    """Turns the hints of a batch into what the teacher says."""

    def __init__(
        self,
        scorer: Scorer,
        render: Render,
        config: OpdConfig,
        *,
        max_tokens: int,
        replay_buffer: ReplayBuffer | None = None,
    ) -> None:
        """Prepare to teach.

        Args:
            scorer: computes log-probs.
            render: prompts, of what the teacher reads.
            config: hints, demonstrations, and what to say of them.
            max_tokens: turns that are longer with what the teacher reads are not scored.
            replay_buffer: where demonstrations come from; without it there are none.
        """
        self._scorer = scorer
        self._render = render
        self._config = config
        self._max_tokens = max_tokens
        self._replay_buffer = ReplayBuffer() if replay_buffer is None else replay_buffer

    def examples(self, turn: Turn) -> tuple[Message, ...]:
        """The praised exchanges that the teacher reads before this turn's conversation."""
        liked = self._replay_buffer.praised(turn.scope, above=self._config.praised_above)
        return demonstrations(liked, turn, self._config.demonstrations)

    def counterexamples(self, turn: Turn) -> tuple[Message, ...]:
        """The exchanges that guidance leads away from; none where it leads away from nothing."""
        if not self._config.contrasts:
            return ()
        blamed = self._replay_buffer.blamed(turn.scope)
        return demonstrations(blamed, turn, self._config.demonstrations)

    def teach(self, turns: Sequence[AdmittedTurn], *, teacher: Model, student: Model) -> Lesson:
        """Choose what each turn is taught by and score its reply under it.

        Args:
            turns: with their hints, best first.
            teacher: who reads the hint.
            student: the policy before the step, reading what it really read.

        Raises:
            LearnerError: the configured lengths do not fit each other.
        """
        skipped: Counter[str] = Counter()
        cases: list[_Case] = []
        for admitted in turns:
            hinted_samples, reason = self._hinted(admitted)
            if hinted_samples:
                read = to_sample(admitted.turn, None)
                untold = self._contrasted(admitted.turn, read)
                cases.append(_Case(read, hinted_samples, untold))
            else:
                skipped[reason] += 1
        pupils = self._pupils(cases, student)
        answers = {
            turn_id: self._answer(scored, pupils.get(turn_id))
            for turn_id, scored in self._score(cases, pupils, teacher).items()
        }
        if self._config.guidance > 0:
            answers = self._guided([case.untold for case in cases], answers, teacher)
        says = {turn_id: answer for turn_id, answer in answers.items() if _is_finite(answer)}
        skipped["not_finite"] = len(answers) - len(says)
        return Lesson(says, dict(+skipped))

    def _guided(
        self, untold: Sequence[Sample], says: Mapping[str, TeacherSays], teacher: Model
    ) -> dict[str, TeacherSays]:
        """What the teacher says, gone further from what it says if it reads these."""
        asked = [replace(sample, teacher=says[sample.turn_id]) for sample in untold]
        further = {}
        for sample, without in zip(asked, self._scorer.score(teacher, asked), strict=True):
            told = says[sample.turn_id]
            logprobs = guided(
                np.array(told.support_logprobs, np.float32),
                without.support_logprobs,
                self._config.guidance,
            )
            further[sample.turn_id] = replace(
                told, support_logprobs=tuple(map(tuple, logprobs.tolist()))
            )
        return further

    def _hinted(self, admitted: AdmittedTurn) -> tuple[list[Sample], str]:
        """The reply under each hint that can be used, and if there is none, why."""
        is_praised = admitted.score is not None and admitted.score > self._config.praised_above
        if is_praised and not self._config.corrects_praised:
            return [], "praised"
        read = to_sample(admitted.turn, None)
        examples = self.examples(admitted.turn)
        hints: Sequence[str | None] = self._preferred(admitted.hints)
        if examples and not hints:
            hints = [None]
        reason, found = self._nothing, []
        for hint in hints:
            prompt_ids = self._prompt(admitted.turn, hint, examples)
            if prompt_ids is None:
                reason = "no_prompt"
            elif len(prompt_ids) + len(read.response_ids) > self._max_tokens:
                reason = "too_long"
            else:
                found.append(replace(read, prompt_ids=prompt_ids))
        return found, reason

    def _contrasted(self, turn: Turn, read: Sample) -> Sample:
        """The reply behind what the user did not like; as it was read where that cannot be."""
        examples = self.counterexamples(turn)
        prompt_ids = self._prompt(turn, None, examples) if examples else None
        if prompt_ids is None or len(prompt_ids) + len(read.response_ids) > self._max_tokens:
            return read
        return replace(read, prompt_ids=prompt_ids)

    def _preferred(self, hints: Sequence[str]) -> Sequence[str]:
        match self._config.hint_choice:
            case HintChoice.first:
                return hints[:1]
            case HintChoice.longest:
                return sorted(hints, key=len, reverse=True)[:1]
            case HintChoice.overlap:
                return hints[: self._config.max_hints]

    def _prompt(
        self, turn: Turn, hint: str | None, examples: Sequence[Message]
    ) -> tuple[int, ...] | None:
        """What the teacher reads: examples, the conversation, and the hint at its end."""
        told = turn.messages if hint is None else hinted(turn.messages, hint)
        if told is None:
            return None
        read = (turn.messages, preceded(turn.messages, examples), preceded(told, examples))
        try:
            plain, with_examples, with_both = (
                self._render(messages, turn.tools_json) for messages in read
            )
        except WireError:  # the template rejects the conversation: counted as `no_prompt`
            return None
        inserted = _inserted(turn.prompt_ids, plain, with_examples)
        return _spliced(inserted, with_examples, with_both)

    @property
    def _nothing(self) -> str:
        """Why a turn has nothing to be taught by."""
        return "no_hint" if self._config.hints else "no_demonstration"

    def _pupils(self, cases: Sequence[_Case], student: Model) -> dict[str, Scored]:
        """The student on the turns where its own likeliest tokens matter."""
        asked = [
            case.read for case in cases if len(case.hinted) > 1 or self._compares(Support.student)
        ]
        scored = self._scorer.score(student, asked, k=self._config.top_k)
        return {sample.turn_id: one for sample, one in zip(asked, scored, strict=True)}

    def _score(
        self, cases: Sequence[_Case], pupils: Mapping[str, Scored], teacher: Model
    ) -> dict[str, list[Scored]]:
        """Every turn under each of its hints, by the teacher."""
        supports = pupils if self._compares(Support.student) else {}
        asked = [
            _with_support(sample, supports.get(sample.turn_id))
            for case in cases
            for sample in case.hinted
        ]
        scored = self._scorer.score(teacher, asked, k=self._config.top_k if self._is_ranked else 0)
        by_turn: dict[str, list[Scored]] = {}
        for sample, one in zip(asked, scored, strict=True):
            by_turn.setdefault(sample.turn_id, []).append(one)
        return by_turn

    def _answer(self, scored: Sequence[Scored], pupil: Scored | None) -> TeacherSays:
        """Of the best hint."""
        best = scored[0]
        if len(scored) > 1 and pupil is not None:
            best = max(scored, key=lambda one: _agreement(one, pupil))
        ids, logprobs = best.likeliest_ids[:, :0], best.support_logprobs[:, :0]
        if self._compares(Support.teacher):
            ids, logprobs = best.likeliest_ids, best.likeliest_logprobs
        elif self._compares(Support.student) and pupil is not None:
            ids, logprobs = pupil.likeliest_ids, best.support_logprobs
        return TeacherSays(
            tuple(best.logprobs.tolist()),
            tuple(map(tuple, ids.tolist())),
            tuple(map(tuple, logprobs.tolist())),
        )

    @property
    def _is_ranked(self) -> bool:
        """Whether the teacher's own likeliest tokens matter."""
        is_chosen = self._config.hint_choice is HintChoice.overlap
        return is_chosen or self._compares(Support.teacher)

    def _compares(self, support: Support) -> bool:
        """Whether the objective compares that support."""
        return self._config.form is OpdForm.top_k and self._config.support is support


def _inserted(
    read: tuple[int, ...], plain: tuple[int, ...], told: tuple[int, ...]
) -> tuple[int, ...]:
    """What was really read, with what `told` has before the end of `plain`; else `told` itself."""
    if told == plain:
        return read
    shortest = min(len(plain), len(told))
    start = next((i for i in range(shortest) if plain[i] != told[i]), shortest)
    stop = len(told) - (len(plain) - start)
    is_kept = read[:start] == plain[:start] and told[stop:] == plain[start:]
    return told[:stop] + read[start:] if is_kept else told


def _spliced(
    read: tuple[int, ...], plain: tuple[int, ...], told: tuple[int, ...]
) -> tuple[int, ...]:
    """What was really read, with the end that the hint changes.

    A conversation's earlier replies are in its prompt as they were sampled, which rendering it
    again need not give. Where the ends differ, the prompt was rendered otherwise: `told` as it is.
    """
    shortest = min(len(plain), len(told))
    start = next((i for i in range(shortest) if plain[i] != told[i]), shortest)
    end = plain[start:]
    kept = read[: len(read) - len(end)]
    return kept + told[start:] if read[len(kept) :] == end else told


def _is_finite(says: TeacherSays) -> bool:
    """Whether every log-prob is a number that can be learnt from."""
    known = np.isfinite(says.logprobs).all() and np.isfinite(says.support_logprobs).all()
    return bool(known)


def _agreement(teacher: Scored, pupil: Scored) -> float:
    """Share of their likeliest tokens that the two have in common, averaged over the reply."""
    is_common = teacher.likeliest_ids[:, :, None] == pupil.likeliest_ids[:, None, :]
    return float(is_common.any(axis=-1).mean())


def _with_support(sample: Sample, pupil: Scored | None) -> Sample:
    """The sample, asking for the log-probs of the pupil's likeliest tokens too."""
    if pupil is None:
        return sample
    ids = tuple(map(tuple, pupil.likeliest_ids.tolist()))
    unknown = tuple((0.0,) * len(row) for row in ids)
    return replace(sample, teacher=TeacherSays((0.0,) * len(ids), ids, unknown))
