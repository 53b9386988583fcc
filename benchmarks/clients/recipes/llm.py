"""The `llm` command."""

from clients.recipe import Pip, Recipe, Tool

_ASK = ("llm", "prompt", "-m", "policy", "--functions", "@HOME@/tools.py")

RECIPE = Recipe(
    name="llm",
    install=Pip("llm", "0.36"),
    files={
        "llm/extra-openai-models.yaml": """\
- model_id: policy
  model_name: @MODEL@
  api_base: @URL@
  supports_tools: true
""",
        "llm/keys.json": '{"openai": "any"}',
        "tools.py": """\
def look_up(text: str) -> str:
    "Looks a text up."
    return text
""",
    },
    environment={"LLM_USER_PATH": "@HOME@/llm"},
    command=(*_ASK, "@TEXT@"),
    goes_on=(*_ASK, "-c", "@TEXT@"),
    tool=Tool("look_up", "text", "{}"),
    is_quick=True,
)
