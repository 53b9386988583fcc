"""The requests of a window as an HTTP archive (HAR 1.2), recorded by Playwright, without its pages.

What a page said can be megabytes per step and is no evidence of what an agent did. What is kept:
every request with its headers and what it sent, every answer's status, headers and cookies, and
the content of answers that are JSON. Images, styles, fonts and scripts are not recorded at all.
The file has the session's cookies.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from clawjax.files import replace_file

__all__ = ["keep_har", "recording"]

_ASSETS = ("css", "js", "png", "jpg", "jpeg", "gif", "svg", "woff", "woff2", "ttf", "ico", "webp")
_RECORDED = re.compile(rf"^(?![^?#;]*\.(?:{'|'.join(_ASSETS)})(?:[?#]|$))")
_KEPT = ("json",)
"""In the type of a content that is kept."""


def recording(path: Path) -> dict[str, Any]:
    """Options of a browser context that records its requests until it is closed.

    Contents are recorded although most are not kept: Playwright otherwise leaves out what requests
    send, too.
    """
    return {
        "record_har_path": path,
        "record_har_content": "embed",
        "record_har_mode": "full",
        "record_har_url_filter": _RECORDED,
    }


def keep_har(recorded: Path, kept: Path) -> None:
    """Write a recording where it is to stay, in one step, without the pages' contents.

    Raises:
        OSError: it was not recorded, or cannot be written.
    """
    archive = json.loads(recorded.read_text(encoding="utf-8"))
    for entry in archive["log"]["entries"]:
        content = entry["response"]["content"]
        if not any(kind in content.get("mimeType", "") for kind in _KEPT):
            content.pop("text", None)
            content.pop("encoding", None)
    kept.parent.mkdir(parents=True, exist_ok=True)
    replace_file(kept, json.dumps(archive))
