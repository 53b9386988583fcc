"""A program for tests: one process of several that do nothing but stay in touch, until one is lost.

`process_loss.py PROCESS COUNT PORT SILENCE_S`: says on a line that it is there, and goes on for
ever.
"""

from __future__ import annotations

import sys
import time

from clawjax.config import DistributedConfig
from clawjax.models.processes import come_together, led_call, one_fate

if __name__ == "__main__":
    process, count, port = (int(argument) for argument in sys.argv[1:4])
    config = DistributedConfig(
        enabled=True,
        coordinator=f"127.0.0.1:{port}",
        processes=count,
        process_id=process,
        timeout_s=240.0,
        silence_timeout_s=float(sys.argv[4]),
    )
    come_together(config)
    with one_fate(config):
        clock = led_call(time.time, "clock")
        clock()
        sys.stdout.write("together\n")
        sys.stdout.flush()
        while True:
            clock()
            time.sleep(0.05)
