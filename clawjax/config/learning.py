"""Knobs of the learner."""

from __future__ import annotations

from dataclasses import dataclass, field

from clawjax.config.checks import above, at_least, at_least_or_null, finite, require, within
from clawjax.config.devices import (
    AttentionKernel,
    ComputeDtype,
    DistributedConfig,
    MeshConfig,
    Remat,
)

__all__ = ["DriftConfig", "LearnerConfig", "LoraConfig"]

_MOST_MEMORY = 0.999_999
"""Of a moment's past that Adam keeps: with all of it, nothing new would count."""


@dataclass
class LoraConfig:
    """Low-rank adapters (arXiv:2106.09685) on linear layers."""

    rank: int = 16
    alpha: float = 32.0
    targets: list[str] = field(
        default_factory=lambda: [
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ]
    )

    def __post_init__(self) -> None:
        """Reject adapters that adapt nothing."""
        at_least("learner.lora.rank", self.rank, 1)
        above("learner.lora.alpha", self.alpha, 0.0)
        finite("learner.lora.alpha", self.alpha)
        require(bool(self.targets), "learner.lora.targets is empty: name at least one layer")


@dataclass
class DriftConfig:
    """How far a version may be from the base model and still be served; null sets no limit.

    What has a limit is measured at every step; `.inf` measures it and refuses nothing.
    """

    max_kl: float | None = None
    """Exact KL(policy || base) in nats per response token, on replies just trained on."""
    max_nll_increase: float | None = None
    """Nats per token by which a fixed text may become less likely than under the base."""
    max_step_reply_kl: float | None = None
    """Exact KL(after || before) of one update, in nats per *reply*: a longer step is shortened, not
    refused. A score is one of a whole reply, and what it says of others holds as far as these are
    about as likely as before: within about 1, whatever their length."""
    eases: bool = False
    """That bound is for a mean score of -1 and shrinks in proportion, to nothing at
    `learner.rest_above` (at 1 where that is null). Of several users in a batch, it shrinks by the
    mean of what it would for each."""
    max_turns: int = 8
    """Replies of the step's batch that a KL is measured on."""

    def __post_init__(self) -> None:
        """Reject budgets that refuse everything."""
        for name, limit in (
            ("max_kl", self.max_kl),
            ("max_nll_increase", self.max_nll_increase),
            ("max_step_reply_kl", self.max_step_reply_kl),
        ):
            require(
                limit is None or limit > 0,
                f"learner.drift.{name}={limit} refuses every version: use a number above 0, "
                "or null for no limit",
            )
        require(
            not self.eases or self.max_step_reply_kl is not None,
            "learner.drift.eases=true eases no bound, as learner.drift.max_step_reply_kl is null: "
            "set it, e.g. to 4, or eases=false",
        )
        at_least("learner.drift.max_turns", self.max_turns, 1)

    @property
    def is_on(self) -> bool:
        """Whether anything has a limit."""
        limits = (self.max_kl, self.max_nll_increase, self.max_step_reply_kl)
        return any(limit is not None for limit in limits)


@dataclass
class LearnerConfig:
    """When a step starts and how it updates."""

    method: str = "lora"
    """`lora` or `full`."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    attention: AttentionKernel = AttentionKernel.auto
    compute_dtype: ComputeDtype = ComputeDtype.float32
    remat: Remat = Remat.dots
    batch_turns: int = 16
    """A step starts as soon as so many judged turns wait; a batch has no more."""
    min_turns: int = 4
    """Of fewer, a step starts from so many on, once `max_wait_s` or `idle_s` is over."""
    max_wait_s: float = 120.0
    """`min_turns` are enough when the oldest judged turn has waited so long. A turn whose answer
    says nothing is dropped only then: people write in several messages."""
    idle_s: float = 30.0
    """`min_turns` are enough when no request has arrived for so long."""
    max_key_share: float | None = 0.5
    """No key has more of a batch while turns of other keys wait; what is over it waits for the next
    batch. Who is alone has all of it, nobody has less than an even split, and a batch has
    `min_turns`, whosever they are. Null sets no cap."""
    max_session_share: float | None = 0.5
    """The same for one session among those that wait, of whatever keys."""
    mini_batch_turns: int | None = None
    """An update takes its turns in several optimiser steps of about so many turns each; null takes
    them all in one."""
    rest_above: float | None = None
    """A user's turns in a batch are not trained on where their mean score is higher: the user is
    content, and what little these say, besides the pull of the KL, would lead away from there.
    Other users' turns in the batch are. Null never rests."""
    epochs: int = 1
    """Passes over an update's turns. What the policy loss does not clip is learnt that often."""
    max_staleness: int = 4
    """Versions between sampling and training; staler turns are dropped."""
    max_tokens: int = 2048
    """Longer turns are dropped."""
    micro_batch_tokens: int = 1024
    """Padded tokens per forward and backward pass, of all devices together; a mesh rounds its rows
    up to a multiple of `data` x `fsdp`."""
    length_buckets: list[int] = field(default_factory=lambda: [512, 1024, 2048])
    """Row lengths that the step is compiled for."""
    is_packed: bool = True
    """Whether several turns may share a row, so that little is computed for padding."""
    learning_rate: float = 3e-4
    warmup_steps: int = 0
    """Optimiser steps over which the learning rate rises to its value: Adam knows little at first,
    and the first steps would be the longest."""
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    adam_eps: float = 1e-8
    """Gradients of a coordinate that are well below this move it in proportion, not by the whole
    learning rate: noise, and the pull of the KL alone once a user is content, then do little."""
    max_grad_norm: float = 1.0
    max_steps: int | None = None
    """Stop training (not serving) after so many steps."""
    keep_checkpoints: int = 2
    keep_versions: int | None = None
    """How many of the newest versions stay in the weight store, beside the one served; null keeps
    all. What is gone cannot be gone back to."""
    poll_s: float = 0.25
    nice: int = 5
    """CPU niceness of the process that trains, also on a data set, so that serving goes first."""
    cpu_cores: int | None = None
    """CPU cores that the process that trains may use, so that a step leaves some to serving; null
    takes all."""
    max_mismatch: float = 0.05
    """Mean |log-prob difference| to the sampler at one version above which the run stops."""
    drift: DriftConfig = field(default_factory=DriftConfig)
    """A version over this budget is kept and not served."""

    def __post_init__(self) -> None:
        """Reject steps that can never start."""
        require(
            self.method in ("lora", "full"),
            f"learner.method={self.method!r} is unknown: use lora or full",
        )
        at_least("learner.batch_turns", self.batch_turns, 1)
        require(
            1 <= self.min_turns <= self.batch_turns,
            f"learner.min_turns={self.min_turns} must be between 1 and "
            f"learner.batch_turns={self.batch_turns}",
        )
        for name, share in (
            ("learner.max_key_share", self.max_key_share),
            ("learner.max_session_share", self.max_session_share),
        ):
            if share is not None:
                within(name, share, 0.01, 1.0)
        at_least_or_null("learner.mini_batch_turns", self.mini_batch_turns, 1)
        at_least("learner.epochs", self.epochs, 1)
        if self.rest_above is not None:
            within("learner.rest_above", self.rest_above, -1.0, 1.0)
        at_least("learner.max_wait_s", self.max_wait_s, 0.0)
        at_least("learner.idle_s", self.idle_s, 0.0)
        at_least("learner.max_staleness", self.max_staleness, 0)
        at_least("learner.max_tokens", self.max_tokens, 2)
        at_least("learner.micro_batch_tokens", self.micro_batch_tokens, 1)
        at_least("learner.learning_rate", self.learning_rate, 0.0)
        finite("learner.learning_rate", self.learning_rate)
        at_least("learner.warmup_steps", self.warmup_steps, 0)
        at_least("learner.weight_decay", self.weight_decay, 0.0)
        within("learner.beta1", self.beta1, 0.0, _MOST_MEMORY)
        within("learner.beta2", self.beta2, 0.0, _MOST_MEMORY)
        above("learner.adam_eps", self.adam_eps, 0.0)
        above("learner.max_grad_norm", self.max_grad_norm, 0.0)
        above("learner.max_mismatch", self.max_mismatch, 0.0)
        at_least_or_null("learner.max_steps", self.max_steps, 1)
        at_least("learner.keep_checkpoints", self.keep_checkpoints, 1)
        if self.keep_versions is not None:
            at_least("learner.keep_versions", self.keep_versions, 2)
        at_least("learner.poll_s", self.poll_s, 0.001)
        within("learner.nice", self.nice, -20, 19)
        at_least_or_null("learner.cpu_cores", self.cpu_cores, 1)
        require(
            self.length_buckets == sorted(set(self.length_buckets)),
            f"learner.length_buckets={self.length_buckets} have to ascend: sort them",
        )
        require(
            max(self.length_buckets, default=0) >= self.max_tokens,
            f"learner.length_buckets end at {max(self.length_buckets, default=0)}, below "
            f"learner.max_tokens={self.max_tokens}: add a bucket or lower max_tokens",
        )
