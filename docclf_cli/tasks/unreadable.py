"""Decides whether too many pages could not be read."""

from __future__ import annotations

from docclf_cli.errors import UnreadableImagesError


def require_readable(unreadable: int, pages: int, allowed: float, hint: str) -> None:
    """Fail if the share of unreadable pages is too large; called after all results are written.

    Args:
        unreadable: Number of unreadable pages.
        pages: Number of all pages.
        allowed: Largest share that is no failure, such as `data.max_unreadable`.
        hint: How to accept more.

    Raises:
        UnreadableImagesError: The share is larger than `allowed`.
    """
    if unreadable > allowed * pages:
        raise UnreadableImagesError(f"{unreadable} of {pages} pages cannot be read, more than {allowed:.2%}", hint)
