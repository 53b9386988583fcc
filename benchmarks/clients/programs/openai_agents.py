"""Two conversations with agents of openai-agents: by the Responses API and by chat."""

import sys

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

url, name, *texts = sys.argv[1:]
set_tracing_disabled(disabled=True)
client = AsyncOpenAI(base_url=url, api_key="any")


@function_tool
def look_up(text: str) -> str:
    """Look a text up."""
    return text


def chat(model, texts):
    agent = Agent(name="Helper", instructions="Be brief.", model=model, tools=[look_up])
    history = []
    for text in texts:
        result = Runner.run_sync(agent, [*history, {"role": "user", "content": text}])
        history = result.to_input_list()
        print(result.final_output)


chat(OpenAIResponsesModel(name, client), texts[:3])
chat(OpenAIChatCompletionsModel(name, client), texts[3:])
