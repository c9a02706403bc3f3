"""What people read on the screen, in their language: the English text is the key, `KOREAN` holds the Korean one.

JSON, CSV, file names and the messages on stderr are always English.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from docclf_cli.display.korean_sentences import SENTENCES
from docclf_cli.display.korean_tables import TABLES
from docclf_cli.streams import is_utf8
from docclf_cli.text import Message

LANGUAGES = ("en", "ko")
_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # in the order of POSIX

KOREAN: Mapping[str, str] = {**TABLES, **SENTENCES}

_chosen: str | None = None


def choose_language(name: str | None) -> None:
    """Show texts in a language of `LANGUAGES`; None is the one of the environment."""
    global _chosen
    _chosen = name


def language() -> str:
    """The language of tables: the chosen one, else Korean where the environment asks for it and the output can hold it."""
    if _chosen is not None:
        return _chosen
    locale = next(filter(None, map(os.environ.get, _VARIABLES)), "")
    return "ko" if locale.lower().startswith("ko") and is_utf8(sys.stdout) else "en"


def said(text: str, **values: object) -> str:
    """A text of the catalogue with its values, or a `Message`, in the language of the user."""
    if isinstance(text, Message):
        values = dict(text.values)
        text = text.template
    template = KOREAN.get(text, text) if language() == "ko" else text
    values = {name: said(value) if isinstance(value, Message) else value for name, value in values.items()}
    return template.format(**values) if values else template
