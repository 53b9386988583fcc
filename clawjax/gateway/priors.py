"""The turn whose tokens a prompt goes on from."""

from __future__ import annotations

from collections.abc import Sequence

from clawjax.gateway.render import Prior
from clawjax.linking.canonical import exact_digest
from clawjax.linking.lookup import Found
from clawjax.records import Message, TurnKind

__all__ = ["prior_of"]


def prior_of(parent: Found | None, messages: Sequence[Message]) -> Prior | None:
    """A turn whose tokens a prompt may go on from: the client sent its history as it was.

    Where a decoration is gone or instructions have changed, the prompt is what the client says now;
    so it is where the tokens are not known (those of redacted turns are not in the log), and where
    the reply came back as several messages.
    """
    if parent is None or not parent.node.prompt_ids:
        return None
    node, at = parent.node, parent.at
    is_whole = node.kind is TurnKind.MAIN and node.is_complete and parent.end == at
    same = {node.exact} if node.joined is None else {node.exact, node.joined.exact}
    if not is_whole or exact_digest(messages[:at]) not in same:
        return None
    return Prior(tuple(node.prompt_ids), tuple(node.response_ids), node.tools_json, at)
