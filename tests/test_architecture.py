"""The direction of imports, as docs/architecture.md draws it."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "clawjax"
FOUNDATION = {
    *("config", "errors", "files", "json_schema", "openai_form", "own", "prose", "protocols"),
    *("records", "stopping", "tasks", "texts", "verdicts", "weight_records"),
}
STORAGE = {"data", "engine", "keys", "linking", "models", "log", "metrics", "weights", "rendering"}
MIDDLE = FOUNDATION | STORAGE | {"review"}
MAY_IMPORT = {
    **dict.fromkeys(FOUNDATION, FOUNDATION),
    "models": FOUNDATION | {"models"},
    "keys": FOUNDATION | {"keys"},
    "linking": FOUNDATION | {"linking"},
    "log": FOUNDATION | {"log"},
    "review": FOUNDATION | {"log", "review"},
    "metrics": FOUNDATION | {"metrics"},
    "weights": FOUNDATION | {"weights"},
    "data": FOUNDATION | {"data", "linking", "log"},
    "rendering": FOUNDATION | {"linking", "rendering"},
    "engine": FOUNDATION | {"engine", "models", "weights"},
    "engine/server": MIDDLE | {"gateway"},  # a front end like the gateway; no engine knows of it
    "gateway": MIDDLE | {"gateway"},
    "rewards": MIDDLE | {"rewards"},
    "learner": MIDDLE | {"learner"},
    "envs": MIDDLE | {"envs"},
    "plan": FOUNDATION | {"models", "plan"},
    "evals": MIDDLE | {"evals", "envs"},
    "sweeps": FOUNDATION | {"metrics", "sweeps"},
    "cli": MIDDLE | {"cli", "sweeps"},
    "testing": MIDDLE,
}


def part_of(path: Path) -> str:
    where = path.relative_to(PACKAGE)
    if where.is_relative_to("engine/server"):
        return "engine/server"
    return where.parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.name))
def test_imports_point_down(path):
    part = part_of(path)
    if part in ("runtime", "__init__", "__main__"):
        return
    used = {module.split(".")[1] for module in imported_modules(path) if "clawjax." in module}
    assert used <= MAY_IMPORT[part], f"{path.name} reaches up or sideways"


def test_no_engine_knows_its_front_end():
    for path in (PACKAGE / "engine").rglob("*.py"):
        if part_of(path) == "engine":
            assert not {m for m in imported_modules(path) if m.startswith("clawjax.engine.server")}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.name))
def test_only_entry_points_know_hydra(path):
    assert not {m for m in imported_modules(path) if m.split(".")[0] == "hydra"}


@pytest.mark.parametrize(
    "part",
    [
        *("data", "gateway", "gateway.dialects", "keys", "linking", "log", "review", "rewards"),
        *("rendering", "rendering.formats"),
        "plan",
        "engine.sglang",
    ],
)
def test_the_request_path_and_plans_load_no_jax(part):
    modules = [
        f"clawjax.{part}.{path.stem}"
        for path in (PACKAGE / part.replace(".", "/")).glob("*.py")
        if not path.stem.startswith("train_")  # run by hand, never while serving
    ]
    code = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        "assert 'jax' not in sys.modules, 'jax was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


def test_the_learners_process_has_no_gateway():
    code = (
        "import clawjax.runtime.learn, sys\n"
        "found = {'starlette', 'clawjax.gateway'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


def test_files_hold_one_idea():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := path.read_text().count("\n")) > 400
    }
    assert not long


@cache
def public_names(path: Path) -> frozenset[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.name))
def test_what_is_imported_from_a_module_is_public_there(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("clawjax."):
            continue
        source = ROOT.joinpath(*node.module.split("."))
        if source.is_dir():
            continue  # a package: its modules, or what its __init__ names
        public = public_names(source.with_suffix(".py"))
        assert {alias.name for alias in node.names} <= public, f"of {node.module}"
