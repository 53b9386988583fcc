"""Knobs of `engine=sglang`: which servers, how they are started, how long anything may take."""

from __future__ import annotations

from dataclasses import dataclass, field

from clawjax.config.checks import at_least, one_of, require, within
from clawjax.config.delivery import DeliveryConfig
from clawjax.config.secrets import service_url

__all__ = ["LaunchConfig", "SglangConfig"]


@dataclass
class LaunchConfig:
    """Server processes that clawjax starts, watches and starts again. Off with `servers: 0`."""

    servers: int = 0
    """How many; each gets a port of its own, counted from `port`."""
    command: list[str] = field(default_factory=lambda: ["python", "-m", "sglang.launch_server"])
    """What starts one; for TPUs `[python, -m, sgl_jax.launch_server]`. The options below follow."""
    host: str = "127.0.0.1"
    port: int = 31000
    model: str | None = None
    """Directory or hub id that the server loads; `model.path` where it is null."""
    tp: int = 1
    """Devices per server (`--tp-size`)."""
    memory_fraction: float | None = None
    """Of the device's memory, for weights and cache (`--mem-fraction-static`)."""
    tool_parser: str | None = None
    """Only for those who talk to the server itself: clawjax parses replies on its own."""
    reasoning_parser: str | None = None
    lora_rank: int = 0
    """Above 0 the server takes adapters up to this rank (`--enable-lora --max-lora-rank`)."""
    lora_targets: list[str] = field(default_factory=list)
    """Modules that adapters may change; needed with `lora_rank`."""
    options: list[str] = field(default_factory=list)
    """Further options, passed on as they are. Keys are no part of a configuration."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment variables besides those of this process, for every server."""
    key_by: str = "config"
    """How a server is told the key to ask for: `config`, a file that only its owner reads
    (`--config FILE.yaml`, which SGLang has from 0.5.3 on), or `argument` (`--api-key`) for programs
    without that option, or that do not see this machine's files; it then stands in the process
    list, for everybody on the machine to read."""
    devices: list[str] = field(default_factory=list)
    """`CUDA_VISIBLE_DEVICES` of each server in turn; empty leaves the variable alone."""
    start_timeout_s: float = 1800.0
    """Loading and compiling a large model takes its time."""
    stop_timeout_s: float = 20.0
    max_restarts: int = 5
    """How often a server is started again in a row; ten minutes of life clear the count."""

    def __post_init__(self) -> None:
        """Reject what cannot be started."""
        at_least("engine.sglang.launch.servers", self.servers, 0)
        require(
            bool(self.command) and all(self.command),
            "engine.sglang.launch.command is empty: name the program, e.g. "
            "[python, -m, sglang.launch_server]",
        )
        last = 65535 - max(self.servers - 1, 0)
        within("engine.sglang.launch.port", self.port, 1, last)
        at_least("engine.sglang.launch.tp", self.tp, 1)
        if self.memory_fraction is not None:
            within("engine.sglang.launch.memory_fraction", self.memory_fraction, 0.05, 1.0)
        at_least("engine.sglang.launch.lora_rank", self.lora_rank, 0)
        require(
            self.lora_rank == 0 or bool(self.lora_targets),
            f"engine.sglang.launch.lora_rank={self.lora_rank} needs "
            "engine.sglang.launch.lora_targets: name the modules, e.g. [q_proj, v_proj]",
        )
        one_of("engine.sglang.launch.key_by", self.key_by, ("config", "argument"))
        for option in (*self.command, *self.options):
            require(
                "api-key" not in option,
                f"engine.sglang.launch.options names {option.partition('=')[0]}, and "
                "configurations are kept and shown: put the key into the variable of "
                "engine.sglang.api_key_env, from where the servers are given it",
            )
        require(
            not self.devices or len(self.devices) == self.servers,
            f"engine.sglang.launch.devices names {len(self.devices)} sets of devices for "
            f"{self.servers} servers: give one for each, or none",
        )
        at_least("engine.sglang.launch.start_timeout_s", self.start_timeout_s, 1.0)
        at_least("engine.sglang.launch.stop_timeout_s", self.stop_timeout_s, 0.1)
        at_least("engine.sglang.launch.max_restarts", self.max_restarts, 0)


@dataclass
class SglangConfig:
    """SGLang servers that are attached to (`urls`) or launched, with or without a router."""

    urls: list[str] = field(default_factory=list)
    """Base URLs of running servers, e.g. `[http://10.0.0.2:30000]`."""
    router: str | None = None
    """A router before them: replies are asked from it, weights and health from the servers."""
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    delivery: DeliveryConfig = field(default_factory=DeliveryConfig)
    """How new weights get to the servers."""
    api_key_env: str = "CLAWJAX_ENGINE_API_KEY"
    """Environment variable holding the servers' bearer key, if they want one; those that are
    launched are given it (`launch.key_by`)."""
    model: str | None = None
    """What the servers call the model, where that is neither `model.name` nor the last part of
    `model.path`."""
    check_template: bool = True
    """Whether a server whose chat template differs is refused. Replies do not depend on it: the
    prompt is written here; others who talk to the server do."""
    max_connections: int = 512
    """To all servers together; a reply takes one."""
    connect_timeout_s: float = 5.0
    write_timeout_s: float = 30.0
    call_timeout_s: float = 30.0
    """For everything but replies and weights."""
    silence_timeout_s: float = 300.0
    """Between two pieces of a reply, queueing and a pause for new weights included."""
    score_timeout_s: float = 300.0
    wait_for_server_s: float = 60.0
    """How long a request waits while no server is in rotation."""
    weights_timeout_s: float = 900.0
    """For new weights to reach a server."""
    health_interval_s: float = 2.0
    health_timeout_s: float = 10.0
    failures_to_leave: int = 3
    """Errors in a row after which a server leaves the rotation; a lost connection does it at
    once. It comes back when it has proved itself. To be full, or to give replies up because it
    was told to, is no error."""
    affinity_slack: int = 8
    """A session keeps its server, whose cache knows it, until that one has so many more replies
    under way than the idlest."""
    max_continuations: int = 8
    """How often in a row a reply may be interrupted without a token in between."""

    def __post_init__(self) -> None:
        """Reject what cannot be reached."""
        for url in (*self.urls, *([] if self.router is None else [self.router])):
            name = "engine.sglang.urls or engine.sglang.router"
            service_url(name, url, "http://HOST:PORT", self.api_key_env)
        require(
            len({url.rstrip("/") for url in self.urls}) == len(self.urls),
            f"engine.sglang.urls={self.urls} names a server twice: name each once",
        )
        require(
            not (self.urls and self.launch.servers),
            f"engine.sglang.urls={self.urls} attaches and engine.sglang.launch.servers="
            f"{self.launch.servers} launches: use one of them",
        )
        require(
            self.router is None or self.delivery.transport == "disk",
            f"engine.sglang.router={self.router} sends a request to any server, whichever adapters "
            "that has: set engine.sglang.delivery.transport=disk",
        )
        at_least("engine.sglang.max_connections", self.max_connections, 1)
        at_least("engine.sglang.failures_to_leave", self.failures_to_leave, 1)
        at_least("engine.sglang.affinity_slack", self.affinity_slack, 0)
        at_least("engine.sglang.max_continuations", self.max_continuations, 0)
        for name in (
            "connect_timeout_s",
            "write_timeout_s",
            "call_timeout_s",
            "silence_timeout_s",
            "score_timeout_s",
            "wait_for_server_s",
            "weights_timeout_s",
            "health_interval_s",
            "health_timeout_s",
        ):
            at_least(f"engine.sglang.{name}", getattr(self, name), 0.01)

    def require_servers(self) -> None:
        """Reject a configuration without any server.

        Raises:
            ConfigError: neither `urls` nor `launch.servers`.
        """
        require(
            bool(self.urls) or self.launch.servers > 0,
            "engine.kind=sglang has no server: set engine.sglang.urls=[http://HOST:PORT] to attach "
            "to running ones, or engine.sglang.launch.servers=1 to start one",
        )
