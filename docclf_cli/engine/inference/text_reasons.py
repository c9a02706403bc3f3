"""The words of a page that spoke for a class, by the text branch of a model."""

from __future__ import annotations

from dataclasses import dataclass

from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.ensembling.text_branch import TextBranch
from docclf_cli.errors import InputError

MOST_WORDS = 10


@dataclass(frozen=True, eq=False)
class TextReasons:
    """Says which words of a page spoke for a class.

    Attributes:
        branch: The text branch; of a folds run that of the first fold that reads.
        class_names: Names along the class axis.
    """

    branch: TextBranch
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, model: TrainedModel) -> TextReasons:
        """Load the text branch of a model.

        Raises:
            CheckpointError: The checkpoint is damaged.
            InputError: The model does not read.
        """
        from docclf_cli.engine.checkpoints.checkpoint import Checkpoint

        info = next((one for one in model.checkpoints if one.text is not None), None)
        branch = None if info is None else Checkpoint.load(info.path).text_branch(info.path)
        if info is None or branch is None:
            raise InputError(
                f"{model.path} does not read pages, so no words speak for a class",
                "train it again with text: auto in the profile",
            )
        return cls(branch, info.class_names)

    def __call__(self, text: str, label: str, count: int = MOST_WORDS) -> list[tuple[str, float]]:
        """Words and pairs of words with what each adds to the log-odds of the class, the strongest first."""
        if not text:
            return []
        return self.branch.model.strongest(text, self.class_names.index(label), count)
