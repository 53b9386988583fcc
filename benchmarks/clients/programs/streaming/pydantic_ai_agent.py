"""A streamed conversation with an agent of pydantic-ai; what breaks off is asked again."""

import asyncio
import sys

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

url, model, *texts = sys.argv[1:]
agent = Agent(OpenAIChatModel(model, provider=OpenAIProvider(base_url=url, api_key="any")))


@agent.tool_plain
def look_up(text: str) -> str:
    """Look a text up."""
    return text


async def show(_, events):
    async for _ in events:
        pass


async def ask(text, history):
    for _ in range(3):
        try:
            return await agent.run(text, message_history=history, event_stream_handler=show)
        except Exception as error:
            trouble = error
            print(f"asked again after {type(error).__name__}: {error}", file=sys.stderr)
    raise trouble


async def main():
    history = []
    for text in texts:
        result = await ask(text, history)
        history = result.all_messages()
        print(result.output)


asyncio.run(main())
