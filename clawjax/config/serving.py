"""Knobs of the model, the engine, the endpoint and the turn log."""

from __future__ import annotations

from dataclasses import dataclass, field

from clawjax.config.checks import at_least, one_of, require, within
from clawjax.config.guarding import LimitsConfig
from clawjax.config.hosts import host_of, host_of_origin, is_loopback
from clawjax.config.linking import LinkingConfig
from clawjax.config.sglang import SglangConfig

__all__ = [
    "REASONING_PARSERS",
    "REDACTION_RULES",
    "TOOL_PARSERS",
    "EngineConfig",
    "GatewayConfig",
    "LogConfig",
    "ModelConfig",
]

TOOL_PARSERS = ("hermes", "qwen_xml", "llama3_json", "llama3_pythonic", "mistral", "json")
REDACTION_RULES = ("email", "key", "card", "phone")
"""Those that ship, each by its name."""
_REQUESTS_PER_KEY = 64
REASONING_PARSERS = ("think", "mistral", "seed", "exaone", "kimi", "command")


@dataclass
class ModelConfig:
    """Which policy."""

    name: str = "smollm2-135m-instruct"
    """What `/v1/models` calls it."""
    path: str = "smollm2"
    """A GGUF file, a Hugging Face directory or hub id, `smollm2` (the packaged default model),
    or `random:<family>` (a tiny random model: llama, qwen2 or qwen3)."""
    revision: str | None = None
    """Hub revision: a branch, a tag or a commit; null: the default branch. Launched servers load it
    too, unless they have a model of their own (`engine.sglang.launch.model`)."""
    context_length: int = 2048
    """Tokens of prompt and reply together; never above what the model was trained for."""

    def __post_init__(self) -> None:
        """Reject what cannot be served."""
        require(bool(self.path), "model.path is empty: name a GGUF file or a model directory")
        at_least("model.context_length", self.context_length, 64)


@dataclass
class EngineConfig:
    """Who samples. The embedded engine's shapes are fixed at start-up."""

    kind: str = "embedded"
    """`embedded` (JAX in the serving process) or `sglang` (servers, see `sglang`)."""
    sglang: SglangConfig = field(default_factory=SglangConfig)
    """The servers of `kind: sglang`, which of this class uses `slots`, `max_waiting`, the sampling
    defaults and `poll_weights_s`."""
    slots: int = 8
    """Requests decoded together."""
    max_waiting: int = 256
    """Requests queued beyond the slots; more are refused with 503 and Retry-After."""
    kept_prefixes: int = 4
    """Conversations kept in the cache besides those in the slots, so that they need not be read
    again when they go on; each takes the memory of a slot."""
    reuse_prefixes: bool = True
    """Read a prompt only from where it is new. False reads every prompt from its start, and keeps
    no conversations: to measure, or where it is suspected."""
    shares_prefixes: bool = False
    """Whether what was read for one key is reused for others whose prompts begin alike. It saves
    time where many keys have one system prompt, and lets a key learn, from the time to its first
    token and `cached_tokens`, that somebody else's prompt begins as its own does."""
    prefill_chunk: int = 128
    """Prompt tokens processed between two decode steps, of one prompt or of several."""
    tokens_per_dispatch: int = 1
    """Tokens that every reply gets before the host looks at any, while nothing waits and no reply
    is about to end: on accelerators, where a step is shorter than the host's part of it. They
    arrive together."""
    weights_dtype: str = "float32"
    """What the weights are stored in for serving, `float32` or `bfloat16`; sums are fp32. The
    learner's are fp32 in any case, so with `bfloat16` it corrects for, and logs, the mismatch."""
    cache_dtype: str = "float32"
    """The same of keys and values in the cache: `bfloat16` halves it, for twice the slots or the
    context. For accelerators; a CPU has no fast products of it."""
    live_buckets: list[int] = field(default_factory=lambda: [128, 256, 512, 1024, 2048])
    """Cache lengths that attention is compiled for; those above the context are ignored."""
    max_response_tokens: int = 512
    """Reply length where the client names none."""
    temperature: float = 0.8
    """Temperature where the client names none."""
    top_p: float = 1.0
    warm_up: bool = True
    """Compile every shape before the first request."""
    compilation_cache: str | None = "~/.cache/clawjax/xla"
    """Where compiled programs are kept between runs; null keeps none."""
    poll_weights_s: float = 0.25
    """How often `LATEST` is looked at."""

    @property
    def cache_rows(self) -> int:
        """Rows of the cache, each as long as the context: slots, and what is kept beside them."""
        return self.slots + (self.kept_prefixes if self.reuse_prefixes else 0)

    def __post_init__(self) -> None:
        """Reject what cannot be served."""
        require(
            self.kind in ("embedded", "sglang"),
            f"engine.kind={self.kind!r} is unknown: use engine=embedded or engine=sglang",
        )
        if self.kind == "sglang":
            self.sglang.require_servers()
        at_least("engine.slots", self.slots, 1)
        at_least("engine.max_waiting", self.max_waiting, 0)
        at_least("engine.kept_prefixes", self.kept_prefixes, 0)
        at_least("engine.prefill_chunk", self.prefill_chunk, 1)
        at_least("engine.tokens_per_dispatch", self.tokens_per_dispatch, 1)
        for key in ("weights_dtype", "cache_dtype"):
            require(
                getattr(self, key) in ("float32", "bfloat16"),
                f"engine.{key}={getattr(self, key)!r} is unknown: use float32 or bfloat16",
            )
        at_least("engine.max_response_tokens", self.max_response_tokens, 1)
        within("engine.temperature", self.temperature, 0.0, 2.0)
        within("engine.top_p", self.top_p, 1e-6, 1.0)
        at_least("engine.poll_weights_s", self.poll_weights_s, 0.01)
        require(bool(self.live_buckets), "engine.live_buckets is empty: give at least one length")
        at_least("engine.live_buckets", min(self.live_buckets), 1)


@dataclass
class GatewayConfig:
    """The HTTP endpoint."""

    host: str = "127.0.0.1"
    port: int = 30000
    api_key_env: str = "CLAWJAX_API_KEY"
    """Environment variable holding a key with all roles, beside those of the run's `keys.json`; the
    key itself is never in a config."""
    allowed_origins: list[str] = field(default_factory=list)
    """Pages of browsers that may ask, as `https://app.example:8443`, besides those of the loopback
    and of the endpoint's own host."""
    allowed_hosts: list[str] = field(default_factory=list)
    """Names, without a port, that clients without a key may call this machine by, besides those of
    the loopback: `host.docker.internal`."""
    session_idle_s: float = 86_400.0
    """A session with no request for so long is closed: what is said of its last reply after that is
    not learnt from."""
    request_timeout_s: float = 600.0
    """A reply that takes longer is ended and its turn kept as cancelled."""
    keep_alive_s: float = 15.0
    """A stream that has nothing to say for so long sends a comment, so that nobody hangs up."""
    default_turn_kind: str = "main"
    """What a request is that neither `X-Turn-Type` nor a rule of `linking` says anything about."""
    linking: LinkingConfig = field(default_factory=LinkingConfig)
    """How the side requests of clients are recognised."""
    max_body_bytes: int = 16_777_216
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    """What else one request, and one key, may ask for."""
    redact: list[str] | None = None
    """What is blanked out before anything is logged: `email`, `phone`, `card`, `key`, or
    `package.module:function`, which takes a text and returns it without its secrets. Null: those
    four, unless `host` is the loopback, where there is nobody's but one's own; `[]`: nothing. A
    turn with something to blank out is not trained on, as its tokens spell it."""
    metrics: str = "open"
    """Who may read `/metrics`: everybody who reaches the port (`open`), as with `/healthz`, keys
    with the role `admin` (`admin`), or nobody (`off`)."""
    tool_parser: str = "auto"
    """How the model writes calls: `auto` (as its chat template does), one of TOOL_PARSERS, or
    `package.module:name` of a format of one's own."""
    reasoning_parser: str = "auto"
    """How it writes thoughts: `auto`, `none`, or one of REASONING_PARSERS."""

    @property
    def redacted(self) -> tuple[str, ...]:
        """The rules of `redact` that hold."""
        if self.redact is None:
            return () if is_loopback(self.host) else REDACTION_RULES
        return tuple(self.redact)

    @property
    def max_requests_per_key(self) -> int | None:
        """The limit of that name that holds; None where there is none."""
        most = self.limits.max_requests_per_key
        return _REQUESTS_PER_KEY if most is None and not is_loopback(self.host) else most

    def __post_init__(self) -> None:
        """Reject what cannot be bound."""
        within("gateway.port", self.port, 0, 65535)
        for origin in self.allowed_origins:
            require(
                host_of_origin(origin) is not None,
                f"gateway.allowed_origins has {origin!r}, which is no page's origin: give "
                "SCHEME://HOST[:PORT], as https://app.example; `*` and `null` mean any page",
            )
        for host in self.allowed_hosts:
            require(
                host_of(host) == host.lower(),
                f"gateway.allowed_hosts has {host!r}, which is no name of a host: give it without "
                "scheme and port, as host.docker.internal",
            )
        at_least("gateway.session_idle_s", self.session_idle_s, 1)
        at_least("gateway.request_timeout_s", self.request_timeout_s, 1)
        at_least("gateway.keep_alive_s", self.keep_alive_s, 0.01)
        at_least("gateway.max_body_bytes", self.max_body_bytes, 1)
        one_of("gateway.metrics", self.metrics, ("open", "admin", "off"))
        if ":" not in self.tool_parser:  # the import path of one's own is followed at the start
            one_of("gateway.tool_parser", self.tool_parser, ("auto", *TOOL_PARSERS))
        reasoning = ("auto", "none", *REASONING_PARSERS)
        one_of("gateway.reasoning_parser", self.reasoning_parser, reasoning)
        require(
            self.default_turn_kind in ("main", "side"),
            f"gateway.default_turn_kind={self.default_turn_kind!r}: use main or side",
        )


@dataclass
class LogConfig:
    """The turn log."""

    url: str = ""
    """`sqlite:///FILE`, where `?` and `%` in a path are written `%3F` and `%25`, or
    `postgresql://...`; empty: the file `turns.db` in the run's folder."""
    busy_timeout_s: float = 30.0
    retention_days: float | None = None
    """Turns older than this are forgotten, with their texts, tokens and verdicts; null keeps them.
    What was learnt from them stays learnt."""
    takes_over: bool = False
    """Learn from a log that another run's learner owns, and own it from then on. For one start, and
    where that run has ended for good: two learners on one log train its turns twice."""

    def __post_init__(self) -> None:
        """Writers wait for one another."""
        at_least("log.busy_timeout_s", self.busy_timeout_s, 0.1)
        if self.retention_days is not None:
            at_least("log.retention_days", self.retention_days, 0.0005)
