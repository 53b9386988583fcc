"""Our learner's step as a contestant, in a process of its own."""

from __future__ import annotations

from typing import Any

from _learner import Learning
from _measure import peak_bytes
from _serve import serve

from clawjax.config import LearnerConfig, ModelConfig
from clawjax.models.load import load_model


class Contestant:
    """One model in training."""

    def load(self, method: str, learner: dict[str, Any]) -> dict[str, Any]:
        """Prepare to train `full` or `lora`, with settings of the learner besides the defaults."""
        self._learning = Learning(
            load_model(ModelConfig()), LearnerConfig(method=method, **learner)
        )
        return {}

    def prepare(self, turns: list[tuple[list[int], list[int]]]) -> dict[str, Any]:
        """Take these turns as just sampled."""
        return {"nll": self._learning.prepare(turns)}

    def train(self) -> dict[str, Any]:
        """One optimiser step on what was prepared."""
        return dict(self._learning.train()._asdict())


if __name__ == "__main__":
    contestant = Contestant()
    serve(
        {
            "load": contestant.load,
            "prepare": contestant.prepare,
            "train": contestant.train,
            "peak": peak_bytes,
        }
    )
