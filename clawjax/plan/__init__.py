"""What a run will take of its devices, worked out before anything is started."""

from clawjax.plan.architectures import find_architecture, known_models
from clawjax.plan.fit import require_fit
from clawjax.plan.plan import make_plan, plan_run
from clawjax.plan.records import Part, Plan, Share
from clawjax.plan.render import render_plan

__all__ = [
    "Part",
    "Plan",
    "Share",
    "find_architecture",
    "known_models",
    "make_plan",
    "plan_run",
    "render_plan",
    "require_fit",
]
