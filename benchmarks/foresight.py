"""How soon can a user's reactions be foreseen, and is it known when they can?

`python benchmarks/foresight.py [--quick] [--personas A,B]` lets the base model answer a persona's
training questions, fits a preference model (`clawjax.learner.preference_model`) on some of the
answers with what the persona thinks and says of them, one in twelve taken the wrong way round, and
predicts the others. Many random choices of the answers to fit on; 24, 48 and 96 of them. And what
each part of that is worth: without style features (`clawjax.learner.style_features`), which list
habits that people name, a wish has to be found as one of a kind that is not listed; without what
reactions mention (`clawjax.learner.mentions`), as one that nobody puts into words. About eight
minutes a persona on one CPU core; `--quick` is the tiny random model, which shows that the script
works.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _config import composed
from _result import Goal, write_result

from clawjax.config import RunConfig
from clawjax.envs.persona import Persona, load_persona, shipped_personas
from clawjax.learner.decoder import StackedDecoder, stack
from clawjax.learner.preference_model import (
    Views,
    fit_preference_model,
    leave_one_out_correlation,
    mention_weighted,
    model_confidence,
    read_layers,
    reply_views,
    stack_views,
)
from clawjax.learner.sampler import Sampler, drawn_sample
from clawjax.learner.scoring import Model, Scorer
from clawjax.models.load import LoadedModel, load_model
from clawjax.protocols import GenerateRequest
from clawjax.records import Message, SamplingParams
from clawjax.runtime.build import use_compilation_cache

TINY = ("suite=tiny", "model=tiny", "engine=tiny", "learner=tiny", "user.max_tokens=16")
SIZES, TRIALS, WRONG = (24, 48, 96), 40, 1 / 12
ANSWERS = 192
VIEWS = ("states", "surface", "manner")
"""Of a reply, in the order of `clawjax.learner.preference_model.reply_views`."""


def main() -> None:
    """Answer, fit, predict, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--personas", type=lambda text: text.split(","), default=None)
    options = parser.parse_args()
    personas = options.personas or (["brief"] if options.quick else list(shipped_personas()))
    folder = Path(tempfile.mkdtemp(prefix="foresight_"))
    overrides = TINY if options.quick else ("suite=personal", "objective=combined")
    rows = measure(composed(folder, *overrides, root="evaluate"), personas)
    write_result(
        "foresight_quick" if options.quick else "foresight",
        rows=rows,
        goals=goals(rows),
        command=" ".join(["python benchmarks/foresight.py", *sys.argv[1:]]),
        notes={
            "auc": "area under the ROC curve of the predictions of answers left out; .5 is chance",
            "foresight": "correlation of reactions with their predictions from the others, mean",
            "step": "mean share of its reach that practice would take",
            "met": "share of the answers that meet the wish",
            "without_*": "auc where the taste is fitted without that view of a reply",
            "without_words": "auc where what reactions speak of is not heeded",
            "labels": f"one in {round(1 / WRONG)} of those fitted on is wrong; {TRIALS} choices",
        },
    )


def measure(config: RunConfig, personas: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of all personas, by one base model."""
    use_compilation_cache(config)
    model = load_model(config.model, seed=0)
    reader = Reader(model, config)
    rows: list[dict[str, Any]] = []
    for name in personas:
        found, is_met, said = reader.read(load_persona(name))
        for row in predicted(found, is_met, said, config.objective.practice.full_foresight):
            rows.append({"persona": name, **row})
            print(*(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    return rows


class Reader:
    """The base model, answering and reading its answers."""

    def __init__(self, model: LoadedModel, config: RunConfig) -> None:
        """Sample as the suite's users do."""
        self._model, self._user = model, config.user
        self._sampler = Sampler(model, config.engine, None)
        self._scorer = Scorer(config.learner)
        self._base = Model(StackedDecoder(model.architecture), stack(model.params))

    def read(self, persona: Persona) -> tuple[Views, np.ndarray, list[str]]:
        """Views of the N answers, whether each meets the wish `[N]`, and what is said of it."""
        tokenizer, rng = self._model.tokenizer, random.Random(0)
        asked = [persona.train[index % len(persona.train)] for index in range(ANSWERS)]
        params = SamplingParams(self._user.max_tokens, temperature=self._user.temperature)
        requests = [
            GenerateRequest(
                str(index),
                tuple(tokenizer.encode_prompt(tokenizer.render([Message("user", question.text)]))),
                params,
                seed=index,
            )
            for index, question in enumerate(asked)
        ]
        drawn = self._sampler.draw(self._base.params, requests)
        samples = [
            drawn_sample(request, reply, version=0)
            for request, reply in zip(requests, drawn, strict=True)
        ]
        layers = read_layers(self._model.architecture.num_layers)
        states = self._scorer.states(self._base, samples, layers)
        replies = [tokenizer.decode(reply.token_ids) for reply in drawn]
        views = [reply_views(one, reply) for one, reply in zip(states, replies, strict=True)]
        heard = [(reply.strip(), question) for reply, question in zip(replies, asked, strict=True)]
        scores = [persona.score(reply, question.text) for reply, question in heard]
        said = [persona.react(reply, question, rng).text for reply, question in heard]
        return stack_views(views), np.array(scores) >= 1.0, said


def predicted(
    found: Views, is_met: np.ndarray, said: Sequence[str], full: float
) -> list[dict[str, Any]]:
    """A row per number of answers to fit on; values None where one kind hardly occurs."""
    rng = np.random.default_rng(0)
    rows = []
    for size in SIZES:
        aucs, foreseen = [], []
        without: dict[str, list[float | None]] = {part: [] for part in (*VIEWS, "words")}
        for _ in range(TRIALS):
            order = rng.permutation(len(is_met))
            fitted, others = order[:size], order[size:]
            seen, unseen = (tuple(view[part] for view in found) for part in (fitted, others))
            wrong = rng.random(size) < WRONG
            scores = np.where(is_met[fitted] ^ wrong, 1.0, -1.0).tolist()
            feature_weights = mention_weighted([said[int(index)] for index in fitted], seen)
            aucs.append(foretold(seen, scores, unseen, is_met[others], feature_weights))
            foreseen.append(leave_one_out_correlation(seen, scores, feature_weights))
            without["words"].append(foretold(seen, scores, unseen, is_met[others], None))
            for place, view in enumerate(VIEWS):
                fewer, asked, less = (
                    part[:place] + part[place + 1 :] for part in (seen, unseen, feature_weights)
                )
                without[view].append(foretold(fewer, scores, asked, is_met[others], less))
        known = [auc for auc in aucs if auc is not None]
        steps = [model_confidence(r, size, full=full) for r in foreseen]
        rows.append(
            {
                "reactions": size,
                "auc": mean_of(aucs),
                "auc_low": round(min(known), 3) if known else None,
                "auc_high": round(max(known), 3) if known else None,
                "foresight": round(float(np.mean(foreseen)), 3),
                "step": round(float(np.mean(steps)), 3),
                "met": round(float(is_met.mean()), 3),
                "answers": len(is_met),
                **{f"without_{view}": mean_of(found) for view, found in without.items()},
            }
        )
    return rows


def foretold(
    seen: Views,
    scores: Sequence[float],
    unseen: Views,
    is_met: np.ndarray,
    feature_weights: Views | None,
) -> float | None:
    """`area` of the others' predictions by a taste that is fitted on those seen."""
    return area(fit_preference_model(seen, scores, feature_weights).predict(unseen), is_met)


def mean_of(areas: Sequence[float | None]) -> float | None:
    """Of those that could be measured."""
    known = [each for each in areas if each is not None]
    return round(float(np.mean(known)), 3) if known else None


def area(scores: np.ndarray, is_met: np.ndarray) -> float | None:
    """The share of pairs, one of each kind, that the scores put in order; ties count half."""
    good, bad = scores[is_met], scores[~is_met]
    if not len(good) or not len(bad):
        return None
    above = np.sign(good[:, None] - bad[None, :])
    return float((above + 1).mean() / 2)


def goals(rows: Sequence[dict[str, Any]]) -> list[Goal]:
    """Half of the wishes foreseen well enough to practise; hardly a step where one is not."""
    last = [row for row in rows if row["reactions"] == SIZES[-1] and row["auc"] is not None]
    foreseen = [row for row in last if row["auc"] >= 0.7]
    blind = [row["step"] for row in rows if row["auc"] is not None and row["auc"] < 0.6]
    return [
        Goal(
            "share of personas foreseen (auc >= .7) after 96 reactions",
            ">=",
            0.5,
            len(foreseen) / len(last) if last else None,
            "share",
        ),
        Goal(
            "largest share of a step where reactions are hardly foreseen (auc < .6)",
            "<=",
            0.1,
            max(blind) if blind else 0.0,
            "share",
        ),
    ]


if __name__ == "__main__":
    main()
