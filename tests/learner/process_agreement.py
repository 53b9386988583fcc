"""A program for tests: what two processes say to each other, as JSON.

`process_agreement.py PROCESS COUNT PORT`.
"""

from __future__ import annotations

import json
import sys
import threading

from clawjax.config import DistributedConfig
from clawjax.errors import StoreError
from clawjax.models.processes import agree, any_of, come_together, is_leader, led, led_call


class Shelf:
    """Something that only the leader may touch, but for its label."""

    def __init__(self) -> None:
        self.touched = 0

    def take(self, what: str) -> str:
        self.touched += 1
        return f"{what} from the leader"

    def fail(self) -> None:
        msg = "the shelf is empty: fill it"
        raise StoreError(msg)

    def fail_oddly(self) -> None:
        error = ValueError("held by")
        error.add_note("a lock")
        error.lock = threading.Lock()  # pyright: ignore
        raise error

    def label(self) -> str:
        return "mine" if is_leader() else "also mine"


def raised(call) -> str:
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


if __name__ == "__main__":
    process, count, port = (int(argument) for argument in sys.argv[1:4])
    come_together(
        DistributedConfig(
            enabled=True, coordinator=f"127.0.0.1:{port}", processes=count, process_id=process
        )
    )
    own = Shelf()
    shelf = led(own, "shelf", own=("label",))
    found = {
        "taken": shelf.take("leader's" if is_leader() else "other's"),
        "long": len(led_call(lambda: "x" * 100_000, "long")()),
        "touched": own.touched,
        "label": shelf.label(),
        "failure": raised(shelf.fail),
        "odd": raised(shelf.fail_oddly),
        "agreed": [agree(True), agree(is_leader())],
        "any": [any_of(False, "stop"), any_of(not is_leader(), "stop")],
        "apart": raised(shelf.take if is_leader() else shelf.fail),
    }
    json.dump(found, sys.stdout)
