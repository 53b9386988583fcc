"""Keys and scopes."""

import pytest

from clawjax.errors import WireError
from clawjax.gateway.auth import Authenticator
from clawjax.keys import LOCAL_SCOPE, KeyRing


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (None, "missing bearer token"),
        ("Basic abc", "missing bearer token"),
        ("Bearer ", "missing bearer token"),
        ("Bearer wrong", "invalid api key"),
        ("Bearer s3cret-key2", "invalid api key"),
        ("Bearer schlüssel", "invalid api key"),
    ],
)
def test_a_configured_key_is_required(header, said):
    headers = {} if header is None else {"authorization": header}
    with pytest.raises(WireError, match=said) as caught:
        Authenticator(KeyRing(secret="s3cret-key")).admit(headers)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


@pytest.mark.parametrize("key", ["s3cret-key", None, ""])
def test_scopes_tell_callers_apart_without_telling_who_they_are(key):
    authenticator = Authenticator(KeyRing(secret=key))
    scope = authenticator.admit({"authorization": "bearer s3cret-key"}).scope
    assert scope not in ("", LOCAL_SCOPE)
    assert "s3cret" not in scope + repr(authenticator)
    if not key:
        assert authenticator.admit({}).scope == LOCAL_SCOPE
        assert authenticator.admit({"authorization": "Bearer other"}).scope != scope
