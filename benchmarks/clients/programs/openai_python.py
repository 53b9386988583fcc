"""Three conversations with openai-python: at once, streamed, and by the Responses API."""

import json
import sys

from openai import OpenAI

url, model, *texts = sys.argv[1:]
client = OpenAI(base_url=url, api_key="any", max_retries=3)
parameters = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}
function = {"name": "look_up", "description": "Looks a text up.", "parameters": parameters}
tools = [{"type": "function", "function": function}]


def at_once(messages):
    answer = client.chat.completions.create(model=model, messages=messages, tools=tools)
    return answer.choices[0].message


def streamed(messages):
    with client.chat.completions.stream(model=model, messages=messages, tools=tools) as stream:
        return stream.get_final_completion().choices[0].message


def chat(ask, texts):
    messages = []
    for text in texts:
        messages.append({"role": "user", "content": text})
        while (message := ask(messages)).tool_calls:
            messages.append(message)
            for call in message.tool_calls:
                found = json.loads(call.function.arguments)["text"]
                messages.append({"role": "tool", "tool_call_id": call.id, "content": found})
        messages.append(message)
        print(message.content)


def responses(texts):
    flat = [{"type": "function", "strict": False, **function}]
    previous = None
    for text in texts:
        asked = [{"role": "user", "content": text}]
        while asked:
            response = client.responses.create(
                model=model, input=asked, tools=flat, previous_response_id=previous
            )
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


chat(at_once, texts[:3])
chat(streamed, texts[3:6])
responses(texts[6:])
