"""Requests and turns for the linker's tests."""

from __future__ import annotations

from dataclasses import dataclass, field

from turn_records import make_turn

from clawjax.config import LinkingConfig
from clawjax.linking.linker import LinkDecision, Linker, note
from clawjax.linking.reading import Asked
from clawjax.linking.tree import SessionRef, Tree
from clawjax.records import (
    FinishReason,
    Message,
    Origin,
    ToolCall,
    Turn,
)


def user(text: str) -> Message:
    return Message("user", text)


def said(text: str, *calls: tuple[str, str]) -> Message:
    return Message(
        "assistant", text, tuple(ToolCall(f"c{i}", *call) for i, call in enumerate(calls))
    )


def result(text: str, call_id: str = "c0") -> Message:
    return Message("tool", text, tool_call_id=call_id)


A, B, C = (user(text) for text in "abc")
R1 = said("The capital of France is Paris. ")
R2 = said("It has two million inhabitants.")


def tools(*names: str) -> str:
    listed = ",".join(f'{{"type":"function","function":{{"name":"{name}"}}}}' for name in names)
    return f"[{listed}]"


def turn_of(turn_id: str, asked: Asked, reply: Message, *, session: str, **changes) -> Turn:
    return make_turn(
        turn_id,
        reply=reply,
        session_id=session,
        scope=asked.scope,
        messages=asked.messages,
        tools_json=asked.tools_json,
        arrived_at=asked.arrived_at,
        **changes,
    )


@dataclass
class Talk:
    """A gateway without HTTP: places requests and remembers what was replied to them."""

    config: LinkingConfig = field(default_factory=LinkingConfig)
    tree: Tree = field(default_factory=Tree)
    now: float = 1000.0
    turns: int = 0

    def __post_init__(self) -> None:
        self.linker = Linker(self.tree, self.config)

    def place(
        self, *messages: Message, scope: str = "local", tools_json: str | None = None, **origin
    ) -> LinkDecision:
        self.now += 1
        return self.linker.place(
            Asked(scope, Origin(**origin), tuple(messages), tools_json, self.now)
        )

    def ask(
        self, reply: Message, *messages: Message, is_cut: bool = False, **asked
    ) -> LinkDecision:
        """Place a request and remember its reply; the turn's id is its number."""
        placement = self.place(*messages, **asked)
        note(placement)
        self.turns += 1
        scope = asked.get("scope", "local")
        session = placement.session or SessionRef(scope, f"session{self.turns}")
        request = Asked(
            scope, placement.reading.origin, tuple(messages), asked.get("tools_json"), self.now
        )
        turn = turn_of(
            str(self.turns),
            request,
            reply,
            session=session.session_id,
            parent_turn_id=parent_of(placement),
            kind=placement.judged.kind,
            finish_reason=FinishReason.CANCELLED if is_cut else FinishReason.STOP,
        )
        self.linker.add(turn, placement.link(turn.turn_id), placement.reading)
        return placement


def parent_of(placement: LinkDecision) -> str | None:
    return None if placement.parent is None else placement.parent.node.turn_id


def of(placement: LinkDecision) -> str | None:
    return None if placement.of is None else placement.of.node.turn_id
