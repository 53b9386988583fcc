"""Two streamed conversations with agents of openai-agents; what breaks off is asked again."""

import asyncio
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


@function_tool
def look_up(text: str) -> str:
    """Look a text up."""
    return text


async def ask(agent, messages):
    for _ in range(3):
        try:
            result = Runner.run_streamed(agent, messages)
            async for _ in result.stream_events():
                pass
        except Exception as error:
            trouble = error
            print(f"asked again after {type(error).__name__}: {error}", file=sys.stderr)
        else:
            return result
    raise trouble


async def chat(model, texts):
    agent = Agent(name="Helper", instructions="Be brief.", model=model, tools=[look_up])
    history = []
    for text in texts:
        result = await ask(agent, [*history, {"role": "user", "content": text}])
        history = result.to_input_list()
        print(result.final_output)


async def main():
    client = AsyncOpenAI(base_url=url, api_key="any")
    await chat(OpenAIResponsesModel(name, client), texts[:3])
    await chat(OpenAIChatCompletionsModel(name, client), texts[3:])


asyncio.run(main())
