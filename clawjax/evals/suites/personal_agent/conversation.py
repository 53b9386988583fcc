"""A user of a persona's taste, by script: asks, says what they think of a reply, asks again once.

Invariant: what the user says depends on persona, questions, seed and replies alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from clawjax.envs.persona import Question, join_message, load_persona
from clawjax.errors import ConfigError

__all__ = ["ASKED_AT_MOST", "Conversation"]

ASKED_AT_MOST = 2
"""A question whose reply is not to the user's taste is put once more."""


class Conversation:
    """One user, from the first question to the reaction to the last reply."""

    def __init__(self, persona: str, prompts: Sequence[str], *, seed: int) -> None:
        """Nothing is said yet.

        Args:
            persona: name of a shipped one, or the path of a file.
            prompts: of its held-out questions, in the order in which they are asked.
            seed: of the user's words.

        Raises:
            ConfigError: no such persona, or a prompt that is none of its held-out questions.
        """
        # In a conversation of few turns every reaction says something about the reply.
        self._persona = replace(load_persona(persona), neutral_rate=0.0)
        known = {question.text: question for question in self._persona.held_out}
        missing = [prompt for prompt in prompts if prompt not in known]
        if missing:
            msg = f"persona {persona} has no held-out question {missing[0]!r}: use one that it has"
            raise ConfigError(msg)
        self._questions: list[Question] = [known[prompt] for prompt in prompts]
        self._rng = random.Random(seed)
        self._current = 0
        self._asked = 1
        self._liked = 0
        self.answered: list[int] = []
        """Of each reply so far, the index of the question that it is to."""

    @property
    def is_over(self) -> bool:
        """Whether no question is open."""
        return self._current == len(self._questions)

    @property
    def progress(self) -> float:
        """Share of the questions with a reply to the user's taste."""
        return self._liked / len(self._questions)

    def opening(self) -> str:
        """The first question."""
        return self._questions[0].text

    def reply(self, text: str) -> str:
        """What the user says to a reply; once all is over, only what they think of it."""
        assert not self.is_over, "the conversation is over"
        question = self._questions[self._current]
        self.answered.append(self._current)
        reaction = self._persona.react(text, question, self._rng)
        is_liked = reaction.mood == "praise"
        self._liked += is_liked
        if is_liked or self._asked == ASKED_AT_MOST:
            self._current, self._asked = self._current + 1, 1
        else:
            self._asked += 1
        if self.is_over:
            return reaction.text
        connector = self._rng.choice(self._persona.connectors)
        return join_message(connector, reaction.text, self._questions[self._current].text)
