"""What a person sees of `docclf distill`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from docclf_cli.display import show as report
from docclf_cli.display import train as _train  # registers the tables of the training
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable, number
from docclf_cli.results.distilling import DistillResult

__all__ = ["_train", "tables"]


@report.render.register
def tables(result: DistillResult) -> Iterator[RenderableType]:
    """The training of the student, then the student beside its teachers."""
    if result.training is not None:
        yield from report.render(result.training)
    table = NameTable(said("Student and teachers"), "", said("student"), said("teachers"))
    for one in result.held_out:
        table.add_row(f"{said('macro-F1')}, {said(one.pages)}", number(one.student_f1), number(one.teacher_f1))
        table.add_row(f"{said('log loss')}, {said(one.pages)}", number(one.student_loss), number(one.teacher_loss))
    costs = (result.student, result.teacher)
    table.add_row(said("networks"), *(str(one.networks) for one in costs))
    table.add_row(said("million parameters"), *(f"{one.parameters / 1e6:.1f}" for one in costs))
    table.add_row(said("pages per second"), *(f"{one.pages_per_second:.0f}" for one in costs))
    yield table
    yield from (Text(said(sentence)) for sentence in result.sentences)
