"""Speaks `published.py`'s protocol without the package: `python fake_verified_scorer.py TASK_FILE`.

An answer with the expected status scores 1 if the requests that the task is about were made, by
method; some answers make it fail in one way or another.
"""

import json
import sys
import time
from pathlib import Path


def requested(har):
    entries = json.loads(Path(har).read_text())["log"]["entries"]
    return {each["request"]["method"] for each in entries}


def evaluator(name, score, error=None):
    status = "error" if error else "success" if score else "failure"
    said = [] if score or error else [f"no {name}"]
    return {"name": name, "status": status, "score": score, "said": said, "error": error}


def evaluated(request):
    tasks = json.loads(Path(request["data"]).read_text())
    [task] = [each for each in tasks if each["task_id"] == request["task_id"]]
    response, *events = task["eval"]
    answer = json.loads(request["agent_response"] or "{}")
    if not isinstance(answer.get("status", ""), str):
        yield evaluator("AgentResponseEvaluator", 0.0, "'int' object has no attribute 'strip'")
    else:
        is_right = answer.get("status") == response["expected"]["status"]
        yield evaluator("AgentResponseEvaluator", float(is_right))
    for event in events:
        is_made = event["expected"].get("http_method", "GET") in requested(request["har"])
        yield evaluator("NetworkEventEvaluator", float(is_made))


def score(request):
    found = list(evaluated(request))
    is_broken = any(each["status"] == "error" for each in found)
    value = 0.0 if is_broken else min(each["score"] for each in found)
    status = "error" if is_broken else "success" if value else "failure"
    return {"ok": {"status": status, "score": value, "error": None, "evaluators": found}}


def say(told):
    sys.stdout.write(f"{told}\n")
    sys.stdout.flush()


say(json.dumps({"ok": {"version": "fake", "data": sys.argv[1]}}))
for line in sys.stdin:
    asked = json.loads(line)
    match asked["agent_response"]:
        case "hang":
            time.sleep(600)
        case "die":
            sys.exit(3)
        case "garble":
            say("Traceback")
        case "misstate":
            say(json.dumps({"ok": {"status": "maybe"}}))
        case "raise":
            say(json.dumps({"error": "KeyError: 'x'"}))
        case _:
            say(json.dumps(score(asked)))
