"""The environment: the variables docclf knows, and keeping their secrets out of every output."""

from __future__ import annotations

import os
import re

SECRETS = ("WANDB_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_USER_INFO = re.compile(r"(\w+://)[^/\s@]+@")


def redact(text: str) -> str:
    """The text with the values of secret variables, and user info in URLs, replaced."""
    for name in SECRETS:
        value = os.environ.get(name, "")
        if len(value) >= 8:
            text = text.replace(value, f"[{name}]")
    return _USER_INFO.sub(r"\1[user]@", text)
