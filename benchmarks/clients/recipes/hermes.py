"""Hermes."""

from clients.recipe import Pip, Recipe, Tool

_ASK = ("hermes", "chat", "-Q", "--yolo")

RECIPE = Recipe(
    name="hermes",
    install=Pip("hermes-agent", "0.19.0"),
    files={
        ".hermes/config.yaml": """\
model:
  default: @MODEL@
  provider: custom
  base_url: @URL@
  api_key: any
  context_length: 65536
"""
    },
    command=(*_ASK, "-q", "@TEXT@"),
    goes_on=(*_ASK, "-c", "-q", "@TEXT@"),
    tool=Tool("terminal", "command"),
    sides={"title": "Generate a short, descriptive title"},
    timeout_s=180.0,
)
