"""Knobs of made-up conversations."""

from __future__ import annotations

from dataclasses import dataclass, field

from clawjax.config.checks import at_least, require, within
from clawjax.config.secrets import service_url

__all__ = ["FilterConfig", "SynthesisConfig"]


@dataclass
class FilterConfig:
    """What is left out of made-up conversations."""

    similar: float = 0.7
    """Jaccard similarity, of word triples, from which a request is a near-duplicate of one before;
    above 1 only equal ones are."""
    leaked: float = 0.5
    """Share of a held-out prompt's word triples that, found in a request, gives the prompt away."""
    min_words: int = 2
    """Of a request, and of a reply."""
    max_words: int = 300
    """Of a reply."""
    language: str | None = "en"
    """ISO 639-1 code that requests and replies have to be in; null: any."""

    def __post_init__(self) -> None:
        """Reject filters that leave nothing."""
        within("synthesis.filters.similar", self.similar, 0.0, 2.0)
        within("synthesis.filters.leaked", self.leaked, 0.0, 2.0)
        at_least("synthesis.filters.min_words", self.min_words, 0)
        at_least("synthesis.filters.max_words", self.max_words, max(1, self.min_words))


@dataclass
class SynthesisConfig:
    """Conversations of made-up users, by any OpenAI-compatible endpoint."""

    base_url: str = "http://127.0.0.1:30000/v1"
    model: str = "policy"
    api_key_env: str = "CLAWJAX_SYNTHESIS_API_KEY"
    dialogues: int = 100
    """How many are begun; filters let fewer through."""
    turns: int = 2
    """Replies in each."""
    form: str = "preferences"
    """`preferences`: the reply of an assistant that knows the persona's wish over that of one that
    does not; `sft`: the first of these alone, at half the cost."""
    ingredients: str = ""
    """A YAML file with `personas` (`name`, `is`, `wish`), `topics` and `scenarios`; empty: the
    shipped one."""
    personas: list[str] = field(default_factory=list)
    """Names of those that are used; empty: all."""
    held_out: list[str] = field(default_factory=list)
    """Text files of a prompt per line that must not leak, beside those that clawjax measures by."""
    temperature: float = 0.9
    max_tokens: int = 400
    concurrency: int = 4
    timeout_s: float = 120.0
    retries: int = 3
    filters: FilterConfig = field(default_factory=FilterConfig)

    def __post_init__(self) -> None:
        """Reject what makes nothing."""
        service_url("synthesis.base_url", self.base_url, "http://HOST:PORT/v1", self.api_key_env)
        require(
            self.form in ("preferences", "sft"),
            f"synthesis.form={self.form!r} is unknown: use preferences or sft",
        )
        for name in ("dialogues", "turns", "max_tokens", "concurrency"):
            at_least(f"synthesis.{name}", getattr(self, name), 1)
        within("synthesis.temperature", self.temperature, 0.0, 2.0)
        at_least("synthesis.timeout_s", self.timeout_s, 0.1)
        at_least("synthesis.retries", self.retries, 0)
