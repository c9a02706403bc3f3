"""Texts of pages on disk, by the identity of their page and of what read them; the file may be deleted at any time."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from docclf_cli.data.loading.cache import cache_folder
from docclf_cli.data.text.page_text import PageText
from docclf_cli.user_folders import cache_home

MAX_BYTES = 2**30
_TABLE = "CREATE TABLE IF NOT EXISTS texts (key TEXT PRIMARY KEY, text TEXT, source TEXT, used INTEGER) WITHOUT ROWID"
_WAIT_SECONDS = 30.0  # for another process that writes
_AT_ONCE = 500
logger = logging.getLogger("docclf")


def texts_folder() -> Path:
    """The folder of the texts of pages."""
    return cache_home() / "texts"


class TextStore:
    """Texts by key; nothing is stored where there is no cache or it cannot be written to.

    Args:
        setting: `data.cache`: `off` stores nothing, a folder stores there.
    """

    def __init__(self, setting: str) -> None:
        folder = cache_folder(setting)
        self._path = None if folder is None else (texts_folder() if setting == "auto" else folder) / "texts.sqlite"

    def load(self, keys: Sequence[str]) -> dict[str, PageText]:
        """The texts that are stored."""
        found: dict[str, PageText] = {}

        def select(connection: sqlite3.Connection) -> None:
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = connection.execute(f"SELECT key, text, source FROM texts WHERE key IN ({marks})", some)
                found.update({key: PageText(text, source) for key, text, source in rows})

        if self._path is not None and self._path.is_file():
            self._use(select)
        return found

    def save(self, texts: Mapping[str, PageText]) -> None:
        """Store texts; the oldest half goes where there are too many bytes."""
        now = int(time.time())

        def insert(connection: sqlite3.Connection) -> None:
            rows = [(key, one.text, one.source, now) for key, one in texts.items()]
            connection.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?, ?, ?)", rows)
            connection.commit()
            if self._path is not None and self._path.stat().st_size > MAX_BYTES:
                half = "SELECT key FROM texts ORDER BY used LIMIT (SELECT count(*) / 2 FROM texts)"
                connection.execute(f"DELETE FROM texts WHERE key IN ({half})")
                connection.commit()
                connection.execute("VACUUM")

        if texts:
            self._use(insert)

    def _use(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Work with the database; a damaged one is deleted, and whatever else fails is said once and ends all storing."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self._path, timeout=_WAIT_SECONDS)) as connection:
                connection.execute(_TABLE)
                work(connection)
        except (sqlite3.OperationalError, OSError) as error:
            logger.warning("texts of pages are not stored in %s: %s", self._path.parent, error)
            self._path = None
        except sqlite3.DatabaseError:
            logger.warning("%s is damaged and is made again", self._path)
            self._path.unlink(missing_ok=True)
