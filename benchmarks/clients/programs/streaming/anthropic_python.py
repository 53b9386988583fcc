"""A streamed conversation with Anthropic's SDK; what breaks off is asked again."""

import sys

import anthropic

base, model, *texts = sys.argv[1:]
client = anthropic.Anthropic(base_url=base, api_key="any", max_retries=3)
schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
tools = [{"name": "look_up", "description": "Looks a text up.", "input_schema": schema}]


def ask(messages):
    for _ in range(3):
        try:
            with client.messages.stream(
                model=model, max_tokens=500, messages=messages, tools=tools
            ) as stream:
                return stream.get_final_message()
        except Exception as error:
            trouble = error
            print(f"asked again after {type(error).__name__}: {error}", file=sys.stderr)
    raise trouble


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
