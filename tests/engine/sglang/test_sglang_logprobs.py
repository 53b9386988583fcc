"""What a reported log-prob is of, and what is left absent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clawjax.engine.sglang.logprobs import (
    PROBE_TEMPERATURE,
    PROBE_TOP_P,
    LogprobsOf,
    classify,
    derive,
)
from clawjax.records import Grammar, GrammarKind, SamplingParams

PLAIN = SamplingParams(8, temperature=1.0)
REPORTED = (-0.5, -1.5)


def log_softmax(logits):
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


def reported(of, logits, token, temperature, top_p):
    """As the servers' samplers compute it."""
    if temperature == 0 or of is LogprobsOf.ORIGINAL:
        return float(log_softmax(logits)[token])
    logprobs = log_softmax(logits / temperature)
    if of is LogprobsOf.TOP_P:
        order = np.argsort(-logprobs)
        probs = np.exp(logprobs[order])
        kept = order[np.cumsum(probs) - probs <= top_p]
        logprobs = logprobs - np.log(np.exp(logprobs[kept]).sum())
    return float(logprobs[token])


@pytest.mark.parametrize("of", [of for of in LogprobsOf if of is not LogprobsOf.BOTH])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_one_probe_tells_what_a_server_reports(of, scale):
    logits = scale * np.random.default_rng(0).standard_normal(300)
    token = int(np.argmax(logits))
    greedy = reported(of, logits, token, 0, 1.0)
    probed = reported(of, logits, token, PROBE_TEMPERATURE, PROBE_TOP_P)
    assert classify(greedy, probed) is of


@pytest.mark.parametrize("of", LogprobsOf)
def test_greedy_is_at_temperature_1_everywhere(of):
    known = derive(of, replace(PLAIN, temperature=0.0, top_p=0.5), REPORTED)
    assert known == (REPORTED, REPORTED)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_grammar_leaves_nothing_known_but_what_is_told(temperature):
    held = replace(PLAIN, temperature=temperature, grammar=Grammar(GrammarKind.REGEX, "a"))
    for of in set(LogprobsOf) - {LogprobsOf.BOTH}:
        assert derive(of, held, REPORTED) == ((), ())
    told = (-0.1, -0.2)
    assert derive(LogprobsOf.BOTH, held, REPORTED, told) == (told, REPORTED)


def test_a_server_that_tells_both_is_believed():
    cut = replace(PLAIN, temperature=0.7, top_p=0.9)
    told = (-0.1, -0.2)
    assert derive(LogprobsOf.BOTH, cut, REPORTED, told) == (told, REPORTED)


@pytest.mark.parametrize("of", [of for of in LogprobsOf if of is not LogprobsOf.BOTH])
def test_temperature_1_without_filters_is_both(of):
    assert derive(of, PLAIN, REPORTED) == (REPORTED, REPORTED)


@pytest.mark.parametrize(
    ("of", "change", "sampler", "at_t1"),
    [
        (LogprobsOf.SCALED, {"temperature": 0.7}, True, False),
        (LogprobsOf.SCALED, {"top_p": 0.9}, False, True),
        (LogprobsOf.SCALED, {"top_k": 5}, False, True),
        (LogprobsOf.SCALED, {"min_p": 0.1}, False, True),
        (LogprobsOf.SCALED, {"temperature": 0.7, "top_p": 0.9}, False, False),
        (LogprobsOf.ORIGINAL, {"temperature": 0.7}, False, True),
        (LogprobsOf.ORIGINAL, {"top_p": 0.9}, False, True),
        (LogprobsOf.TOP_P, {"temperature": 0.7}, True, False),
        (LogprobsOf.TOP_P, {"top_p": 0.9}, True, False),
        (LogprobsOf.TOP_P, {"top_k": 5}, False, True),
    ],
)
def test_what_cannot_be_known_is_absent(of, change, sampler, at_t1):
    known = derive(of, replace(PLAIN, **change), REPORTED)
    assert known == (REPORTED if sampler else (), REPORTED if at_t1 else ())
