"""Who predicts: a checkpoint, a run, a run of folds, or the members of a profile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docclf_cli.engine.members import Member, member_at
from docclf_cli.engine.team import open_members
from docclf_cli.ensembling.combine import Method, methods_of
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import EnsembleConfig, TTAConfig

ALONE = Method("averaging")


@dataclass(frozen=True, eq=False)
class Jury:
    """Who answers.

    Attributes:
        name: What the result calls them.
        members: One model, or several.
        method: How several combine.
        views: How they look at pages; None is plainly.
    """

    name: str
    members: tuple[Member, ...]
    method: Method = ALONE
    views: TTAConfig | None = None

    @classmethod
    def of_checkpoint(cls, path: Path, tta: bool = False) -> Jury:
        """A checkpoint file, a run folder, or a run of folds.

        Raises:
            CheckpointError: There is no checkpoint, or it is damaged.
        """
        return cls(str(path), (member_at(path),), views=TTAConfig() if tta else None)

    @classmethod
    def of_ensemble(cls, name: str, config: EnsembleConfig, tta: bool = False) -> Jury:
        """The members of a profile.

        Raises:
            InputError: They do not fit together, or the method is one that must be fitted first.
            CheckpointError: A checkpoint is missing or damaged.
        """
        methods = methods_of(config)
        if len(methods) > 1 or methods[0].fitted:
            raise InputError(
                f"ensemble.method: '{config.method}' is fitted to held-out pages, and predict fits nothing",
                "take the weights that `docclf ensemble` prints: method: weighted, with a `weight` for each member",
            )
        members = sorted(open_members(config.models), key=lambda member: member.key)
        return cls(name, tuple(members), methods[0], config.tta if tta or config.tta.enabled else None)
