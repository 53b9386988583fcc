"""Tasks as WebArena's files have them."""

import json

from clawjax.evals.suites.webarena.local.store import DATA
from clawjax.evals.suites.webarena.records import read_tasks

LOCAL = read_tasks((DATA / "tasks.json").read_bytes())


def entry(**evaluation):
    known = {"eval_types": ["string_match"], "reference_answers": {"exact_match": "x"}}
    known |= {"reference_url": "", "program_html": []} | evaluation
    return {
        "sites": ["shopping"],
        "task_id": 1,
        "require_login": True,
        "storage_state": "./.auth/shopping_state.json",
        "start_url": "__SHOPPING__ |AND| __SHOPPING__/cart",
        "intent": "Go to __SHOPPING__",
        "eval": known,
        "intent_template_id": 7,
    }


def task(**evaluation):
    return read_tasks(json.dumps([entry(**evaluation)]).encode())[0]
