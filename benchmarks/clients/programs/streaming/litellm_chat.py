"""A streamed conversation by LiteLLM; what breaks off is asked again."""

import json
import sys

import litellm

url, model, *texts = sys.argv[1:]
parameters = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
function = {"name": "look_up", "description": "Looks a text up.", "parameters": parameters}


def streamed(messages):
    stream = litellm.completion(
        model=f"openai/{model}",
        api_base=url,
        api_key="any",
        messages=messages,
        tools=[{"type": "function", "function": function}],
        num_retries=2,
        stream=True,
    )
    return litellm.stream_chunk_builder(list(stream), messages=messages).choices[0].message


def ask(messages):
    for _ in range(3):
        try:
            return streamed(messages)
        except Exception as error:
            trouble = error
            print(f"asked again after {type(error).__name__}: {error}", file=sys.stderr)
    raise trouble


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
