"""Decides whether too many pages could not be read."""

from __future__ import annotations

from docclf_cli.errors import UnreadableImagesError


def require_readable(unreadable: int, pages: int, allowed: float, hint: str) -> None:
    """Say by the exit code that too many pages could not be read; all files are still written.

    Args:
        unreadable: How many could not.
        pages: Of how many.
        allowed: Share that is no failure, such as `data.max_unreadable`.
        hint: How any number is accepted.

    Raises:
        UnreadableImagesError: Their share is above the one allowed.
    """
    if unreadable > allowed * pages:
        raise UnreadableImagesError(f"{unreadable} of {pages} pages cannot be read, more than {allowed:.2%}", hint)
