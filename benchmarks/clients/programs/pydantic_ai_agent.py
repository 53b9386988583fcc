"""A conversation with an agent of pydantic-ai."""

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


history = []
for text in texts:
    result = agent.run_sync(text, message_history=history)
    history = result.all_messages()
    print(result.output)
