"""How replies of servers are drawn."""

from __future__ import annotations

from sglang_peer import Json

GREEDY: Json = {"temperature": 0, "ignore_eos": True}
DRAWN: Json = {"temperature": 1.0, "ignore_eos": True}
SHORT = 24
