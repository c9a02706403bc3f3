"""What the shell completes an option's value with; nothing heavy is imported for it."""

from collections.abc import Callable

from docclf_cli.profile.lookup import group_names

Complete = Callable[[str], list[str]]


def words(*known: str) -> Complete:
    """Complete from fixed words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in known if word.startswith(incomplete)]

    return complete


def groups(section: str) -> Complete:
    """Complete from the group files of a section, people's own among them; from profiles, where it is empty."""

    def complete(incomplete: str) -> list[str]:
        return words(*group_names(section))(incomplete)

    return complete
