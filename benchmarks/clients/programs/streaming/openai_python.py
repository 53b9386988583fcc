"""Streamed conversations by openai-python: chat, responses; what breaks off is asked again."""

import json
import sys

import openai

url, model, *texts = sys.argv[1:]
client = openai.OpenAI(base_url=url, api_key="any", max_retries=3)
parameters = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}
function = {"name": "look_up", "description": "Looks a text up.", "parameters": parameters}


def persistently(ask, *arguments):
    """The SDK asks again for what was refused, not for what has begun."""
    for _ in range(3):
        try:
            return ask(*arguments)
        except Exception as error:
            trouble = error
            print(f"asked again after {type(error).__name__}: {error}", file=sys.stderr)
    raise trouble


def by_chat(messages):
    tools = [{"type": "function", "function": function}]
    with client.chat.completions.stream(model=model, messages=messages, tools=tools) as stream:
        return stream.get_final_completion().choices[0].message


def by_responses(asked, previous):
    tools = [{"type": "function", "strict": False, **function}]
    with client.responses.stream(
        model=model, input=asked, tools=tools, previous_response_id=previous or openai.omit
    ) as stream:
        return stream.get_final_response()


def chat(texts):
    messages = []
    for text in texts:
        messages.append({"role": "user", "content": text})
        while (message := persistently(by_chat, messages)).tool_calls:
            messages.append(message)
            for call in message.tool_calls:
                found = json.loads(call.function.arguments)["text"]
                messages.append({"role": "tool", "tool_call_id": call.id, "content": found})
        messages.append(message)
        print(message.content)


def responses(texts):
    previous = None
    for text in texts:
        asked = [{"role": "user", "content": text}]
        while asked:
            response = persistently(by_responses, asked, previous)
            previous = response.id
            asked = [
                {
                    "type": "function_call_output",
                    "call_id": item.call_id,
                    "output": json.loads(item.arguments)["text"],
                }
                for item in response.output
                if item.type == "function_call"
            ]
        print(response.output_text)


chat(texts[:3])
responses(texts[3:])
