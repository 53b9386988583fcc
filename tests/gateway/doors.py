"""A gateway with keys, and a request in every dialect."""

from clawjax.keys import KEY_FILE, KeyFile, KeyRing, Role, new_key

from .helpers import user

BODIES = {
    "/v1/chat/completions": {"messages": [user("hi")]},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": [user("hi")], "max_tokens": 20},
    "/v1/completions": {"prompt": "hi"},
}


class Door:
    """A gateway with a file of keys."""

    def __init__(self, make_gateway, folder, **options):
        self.file = KeyFile(folder / KEY_FILE)
        self.add("owner", *Role)
        self.gateway = make_gateway(["one reply"] * 9, keys=KeyRing(self.file), **options)

    def add(self, name, *roles, is_logged=True):
        made = new_key(name, roles, now=1.0, is_logged=is_logged)
        self.file.add(made.key)
        setattr(self, name, {"authorization": f"Bearer {made.secret}"})
        return made

    async def post(self, path, body, headers):
        return await self.gateway.client.post(path, json=body, headers=headers)
