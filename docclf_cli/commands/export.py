"""`docclf export`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from rich.console import RenderableType
from rich.markup import escape

from docclf_cli.commands import _options as option
from docclf_cli.commands._arguments import argument_or_option
from docclf_cli.commands._checkpoint import checkpoint_or_newest
from docclf_cli.commands._completion import words
from docclf_cli.display import show as report
from docclf_cli.results.export import ExportResult

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf export runs/mine\n\n"
    "docclf export runs/mine --format safetensors --output my-model\n\n"
    "docclf predict scans/ --checkpoint runs/mine --backend onnx"
)


def run(
    trained: option.Run = None,
    checkpoint: option.CheckpointPath = None,
    file_format: Annotated[
        str,
        option.declare(
            "--format",
            help="onnx: one file for any runtime; safetensors: a folder that timm loads.",
            complete=words("onnx", "safetensors"),
        ),
    ] = "onnx",
    output: Annotated[
        Path | None,
        option.output("Output file or folder \\[default: export/ beside the checkpoint].", "FILE|DIR"),
    ] = None,
    overwrite: Annotated[bool, option.overwrite("Replace what is at --output.")] = False,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Export a checkpoint to ONNX or safetensors, and compare the export with the checkpoint on real pages."""
    from docclf_cli.engine.checkpoints.checkpoint import find_checkpoint
    from docclf_cli.tasks.export import export

    checkpoint = argument_or_option(trained, checkpoint, "--checkpoint")
    path = find_checkpoint(checkpoint_or_newest(checkpoint, None, quiet))
    report.show(export(path, file_format, output=output, overwrite=overwrite), as_json=as_json)


@report.render.register
def tables(result: ExportResult) -> Iterator[RenderableType]:
    """The comparison with the checkpoint, and the files."""
    table = report.plain_table(escape(f"{result.format} of {result.checkpoint}"))
    kind = "pages of the training data" if result.real_pages else "random images"
    table.add_row("compared on", f"{result.pages} {kind}")
    table.add_row("largest probability difference", f"{result.max_difference:.1e}")
    faster = result.checkpoint_ms / result.exported_ms
    table.add_row(
        "milliseconds per page on the CPU",
        f"{result.exported_ms:.1f}; torch {result.checkpoint_ms:.1f} (fp32), {faster:.2f} times as fast",
    )
    yield table
    yield report.files_table(result.files)
    if result.format == "safetensors":
        yield f'timm.create_model("local-dir:{escape(str(result.files[-1].parent))}", pretrained=True)'
