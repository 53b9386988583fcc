"""A conversation with a tool-calling agent of smolagents."""

import sys

from smolagents import OpenAIModel, ToolCallingAgent, tool

url, model, *texts = sys.argv[1:]


@tool
def look_up(text: str) -> str:
    """Look a text up.

    Args:
        text: what to look up.
    """
    return text


agent = ToolCallingAgent(
    tools=[look_up],
    model=OpenAIModel(model_id=model, api_base=url, api_key="any"),
    max_steps=4,
)
for number, text in enumerate(texts):
    print(agent.run(text, reset=number == 0))
