"""Positional arguments that say the same as an option, words of the form KEY=VALUE, and options of other names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

from docclf_cli.errors import InputError

_KEY_VALUE = re.compile(r"[+~]{0,2}([A-Za-z_][\w.]*)=(.*)", re.DOTALL)
# Keys of the earlier framework and of profiles whose option has another name.
_OPTION_OF = {
    "config_name": "profile", "data_dir": "data", "data_path": "data", "max_epochs": "epochs", "num_epochs": "epochs",
    "learning_rate": "lr", "img_size": "image-size", "checkpoint_path": "checkpoint", "ckpt_path": "checkpoint",
    "root": "data", "model_name": "model", "n_folds": "folds", "output_dir": "output",
}  # fmt: skip


def argument_or_option(argument: str | None, value: str | None, option: str) -> str | None:
    """What is given as an argument or with the option that says the same.

    Raises:
        InputError: Both are given, and they differ.
    """
    if argument is not None and value is not None and argument != value:
        raise InputError(f"'{argument}' and {option} {value} are both given, and they differ", "leave one of them out")
    return value if argument is None else argument


_KINDS = {"str": "TEXT", "Path": "PATH", "int": "N", "float": "NUMBER"}


def with_plain_types(params: list[Any]) -> list[Any]:
    """Parameters whose help says in plain words what they take: nothing of a flag, which takes no value, nor of an argument."""
    for param in params:
        param.display_type_rich = partial(_kind, param)
        if param.param_type_name == "argument" and param.metavar is not None:
            param.get_usage_pieces = partial(_usage, param)
    return params


def _usage(param: Any, ctx: Any) -> list[str]:
    """An argument in the line of usage, in brackets where it may be left out."""
    several = "..." if param.nargs != 1 and not param.metavar.endswith("...") else ""
    name = f"{param.metavar}{several}"
    return [name if param.required else f"[{name}]"]


def _kind(param: Any, ctx: Any) -> str | None:
    """What an option takes: its own word for it, else what its type is; a range is shown beside it."""
    if param.param_type_name == "argument" or getattr(param, "is_flag", False):
        return None
    if param.metavar is not None:
        return str(param.metavar)
    name = re.sub(r"list\[(\w+)\]", r"\1", param.bare_type())
    return None if param._get_number_range_help_str() else _KINDS.get(name, name.upper())


class Group(TyperGroup):
    """A group of commands whose help says in plain words what options take."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options of the group itself."""
        return with_plain_types(super().get_params(ctx))


class Command(TyperCommand):
    """A subcommand that answers a stray `key=value` with the option to use."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its arguments and options."""
        return with_plain_types(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line.

        Raises:
            InputError: An argument is of the form `key=value`, and no file has that name; or an option has another name here.
        """
        self._refuse_foreign_options(args)
        values, rest, _ = self.make_parser(ctx).parse_args(args=list(args))
        taken = [values.get(param.name or "") for param in self.params if param.param_type_name == "argument"]
        words = [word for value in (*taken, rest) for word in (value if isinstance(value, list | tuple) else [value])]
        strays = [word for word in words if isinstance(word, str) and _KEY_VALUE.fullmatch(word)]
        answers = [answer for word in strays if not Path(word).exists() for answer in self._answers(word)]
        if answers:
            raise InputError(f"options start with two dashes here: {' '.join(strays)}", f"write {' '.join(answers)}")
        return super().parse_args(ctx, args)

    def _refuse_foreign_options(self, args: list[str]) -> None:
        known = {name for param in self.params for name in param.opts}
        for word in args:
            option, _, value = word.partition("=")
            name = _OPTION_OF.get(option.removeprefix("--").replace("-", "_"), "")
            if option.startswith("--") and option not in known and f"--{name}" in known:
                raise InputError(f"there is no option {option}", f"write --{name}{f' {value}' if value else ''}")

    def _answers(self, word: str) -> Iterator[str]:
        """The option that says the same as a `key=value`, if this command has one."""
        match = _KEY_VALUE.fullmatch(word)
        assert match
        key, value = match[1], shlex.quote(match[2] or "VALUE")
        last = key.rpartition(".")[2]
        options = {name for param in self.params for name in param.opts}
        for name in (key, last, _OPTION_OF.get(last, "")):
            option = f"--{name.replace('_', '-')}"
            # `optimizer.name=sgd` names the section's group; any other dotted key is the option of its last part.
            if name == "name" and "." in key:
                option = f"--{key.split('.')[-2]}"
            if option in options and option not in ("--set", "--name" if "." in key else ""):
                yield f"{option} {value}"
                return
        if "--set" in options and self._is_key(key):
            yield f"--set {shlex.quote(f'{key}={match[2]}')}"

    @staticmethod
    def _is_key(key: str) -> bool:
        from docclf_cli.profile.schema import schema_keys

        return key in {known.name for known in schema_keys()} or ".params." in key
