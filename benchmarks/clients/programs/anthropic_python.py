"""Two conversations with Anthropic's SDK: at once and streamed."""

import sys

from anthropic import Anthropic

base, model, *texts = sys.argv[1:]
client = Anthropic(base_url=base, api_key="any", max_retries=3)
schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
tools = [{"name": "look_up", "description": "Looks a text up.", "input_schema": schema}]


def at_once(messages):
    return client.messages.create(model=model, max_tokens=500, messages=messages, tools=tools)


def streamed(messages):
    with client.messages.stream(
        model=model, max_tokens=500, messages=messages, tools=tools
    ) as stream:
        return stream.get_final_message()


def chat(ask, texts):
    messages = []
    for text in texts:
        messages.append({"role": "user", "content": text})
        while True:
            answer = ask(messages)
            messages.append({"role": "assistant", "content": answer.content})
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": block.input["text"]}
                for block in answer.content
                if block.type == "tool_use"
            ]
            if not results:
                break
            messages.append({"role": "user", "content": results})
        print("".join(block.text for block in answer.content if block.type == "text"))


chat(at_once, texts[:3])
chat(streamed, texts[3:])
