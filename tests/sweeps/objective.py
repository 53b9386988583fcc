"""A program as sweeps start them: overrides in, `metrics.jsonl` and `score.json` out.

Best at x=3, mode=b. Records a score per step, takes `pause` seconds for each, and dies of `die=1`.
"""

import json
import sys
import time
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

overrides = OverridesParser.create().parse_overrides(sys.argv[1:])
given = {each.key_or_group: str(each.value()) for each in overrides}
folder = Path(given["hydra.run.dir"])
if given.get("die") == "1":
    sys.exit("no such luck")
score = -abs(float(given["x"]) - 3) - (given["mode"] != "b")
with (folder / "metrics.jsonl").open("a") as metrics:
    for step in range(1, 6):
        time.sleep(float(given["pause"]))
        entry = {"evaluation/score": score * step / 5, "evaluation/parts": step}
        metrics.write(json.dumps(entry) + "\n")
        metrics.flush()
(folder / "score.json").write_text(json.dumps({"score": score}))
