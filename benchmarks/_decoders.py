"""Who takes part in decoding: this engine, and other projects as their documentation says.

All draw at temperature 1 from everything, for prompts of equal length, and never stop early; each
goes through the same prompts in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from _engine import Prompt, Served, elapsed, steady_rate
from _peer import Peer, PeerError

from clawjax.models.load import default_model_file

__all__ = [
    "CLAWJAX_BF16",
    "CLAWJAX_FP32",
    "HF_BF16",
    "HF_FP32",
    "LLAMA",
    "TUNIX",
    "Contestant",
    "Generate",
    "Ours",
    "open_rivals",
    "rival",
]

CLAWJAX_FP32, CLAWJAX_BF16 = "clawjax fp32", "clawjax bf16"
HF_FP32, HF_BF16 = "HF generate fp32", "HF generate bf16"
TUNIX, LLAMA = "tunix sampler fp32", "llama.cpp Q4_1"

MODEL = Path(__file__).parent / "peers" / "environments" / "model"
"""The default model as Hugging Face files."""


class Generate(Protocol):
    """A peer's command; answers with `seconds` and the `ids` of the replies."""

    def __call__(
        self, *, prompts: Sequence[Prompt], new_tokens: int, temperature: float
    ) -> dict[str, Any]:
        """Replies of so many tokens; temperature 0 is greedy."""
        ...


class Rival(NamedTuple):
    """How another project is started."""

    script: str
    environment: str
    load: Mapping[str, Any]
    """Arguments of its command `load`."""
    takes_capacity: bool = True
    """Whether its cache has to be told how many tokens to have room for."""


@dataclass
class Contestant:
    """Somebody who generates, with prompts that nobody gives them twice."""

    generate: Callable[[Sequence[Prompt], int], float]
    """Prompts, and how many tokens to draw for each; returns seconds."""
    prompts: Iterator[Prompt]

    def seconds(self, streams: int, new_tokens: int) -> float:
        """Generate for as many prompts at once."""
        return self.generate(list(islice(self.prompts, streams)), new_tokens)


@dataclass
class Ours:
    """The engine as a contestant."""

    served: Served
    steady: list[float] = field(default_factory=list)
    """Tokens per second while all streams decode, of each call for more than one token."""

    def __call__(self, prompts: Sequence[Prompt], new_tokens: int) -> float:
        """Seconds from asking for all replies to the last token of them."""
        replies = self.served.sampled(prompts, new_tokens)
        if new_tokens > 1:
            self.steady.append(steady_rate(replies))
        return elapsed(replies)


def rival(generate: Generate) -> Callable[[Sequence[Prompt], int], float]:
    """A peer as a contestant."""

    def seconds(prompts: Sequence[Prompt], new_tokens: int) -> float:
        return generate(prompts=prompts, new_tokens=new_tokens, temperature=1.0)["seconds"]

    return seconds


def open_rivals(stack: ExitStack, *, capacity: int) -> tuple[dict[str, Generate], dict[str, str]]:
    """Start everybody who is installed.

    Args:
        stack: stops them.
        capacity: tokens of prompt and reply that the caches have room for.

    Returns:
        Their commands by name, and why others do not take part.
    """
    found: dict[str, Generate] = {}
    missing: dict[str, str] = {}
    for name, (script, environment, load, takes_capacity) in _rivals().items():
        try:
            peer = stack.enter_context(Peer(script, environment))
            peer.call("load", **load)
        except PeerError as error:
            missing[name] = str(error)
        else:
            room = {"capacity": capacity} if takes_capacity else {}
            found[name] = partial(peer.call, "generate", **room)
    return found, missing


def _rivals() -> dict[str, Rival]:
    model = str(MODEL)
    return {
        HF_FP32: Rival("hf", "torch", {"model": model, "dtype": "float32"}, takes_capacity=False),
        HF_BF16: Rival("hf", "torch", {"model": model, "dtype": "bfloat16"}, takes_capacity=False),
        TUNIX: Rival("tunix_sampler", "tunix", {"model": model}),
        LLAMA: Rival("llama", "llama", {"path": str(default_model_file())}),
    }
