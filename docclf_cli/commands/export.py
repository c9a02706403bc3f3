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
from docclf_cli.commands._load import settings_of_use
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display
from docclf_cli.display.tables import difference
from docclf_cli.results.export import ExportResult

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf export runs/mine\n\n"
    "docclf export runs/mine --format safetensors --output my-model\n\n"
    "docclf predict scans/ --checkpoint runs/mine --backend onnx\n\n"
    "docclf export runs/mine --int8"
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
    int8: Annotated[
        bool,
        option.declare(
            "--int8",
            help="With onnx: quantise to int8, calibrated on training pages and compared on held-out pages.",
        ),
    ] = False,
    tolerance: Annotated[
        float | None,
        option.declare(
            "--tolerance",
            min=0.0,
            show_default=False,
            help="With --int8: by how much held-out macro-F1 may fall \\[default: 0.01, or two pages' worth of few].",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        option.output("Output file or folder \\[default: export/ beside the checkpoint].", "FILE|DIR"),
    ] = None,
    overwrite: Annotated[bool, option.overwrite("Replace what is at --output.")] = False,
    sets: option.Sets = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Export a checkpoint to ONNX or safetensors, and compare the export with the checkpoint on real pages."""
    from docclf_cli.engine.checkpoints.checkpoint import find_checkpoint
    from docclf_cli.engine.checkpoints.run_folder import RunFolder
    from docclf_cli.tasks.export import export

    checkpoint = argument_or_option(trained, checkpoint, "--checkpoint")
    runtime, reading = settings_of_use(sets, None, None)
    run = checkpoint_or_newest(checkpoint, None, quiet)
    RunFolder(run).say_unfinished()
    path = find_checkpoint(run)
    with progress_display(quiet) as emit:
        result = export(
            path, file_format, int8=int8, tolerance=tolerance, output=output, overwrite=overwrite,
            reading=reading, runtime_config=runtime, emit=emit,
        )  # fmt: skip
    report.show(result, as_json=as_json)


@report.render.register
def tables(result: ExportResult) -> Iterator[RenderableType]:
    """The comparison with the checkpoint, and the files."""
    quantization = result.quantization
    name = f"{result.format} in int8" if quantization else result.format
    table = report.plain_table(escape(f"{name} of {result.checkpoint}"))
    kind = "pages of the training data" if result.real_pages else "random images"
    table.add_row("compared on", f"{result.pages} {kind}")
    table.add_row("largest probability difference", f"{result.max_difference:.1e}")
    faster = result.checkpoint_ms / result.exported_ms
    table.add_row(
        "milliseconds per page on the CPU",
        f"{result.exported_ms:.1f}; torch {result.checkpoint_ms:.1f} (fp32), {faster:.2f} times as fast",
    )
    if quantization:
        faster = quantization.fp32_ms / result.exported_ms
        table.add_row("onnx in fp32", f"{quantization.fp32_ms:.1f}, {faster:.2f} times as fast in int8")
        table.add_row(
            f"macro-F1 on {quantization.difference.pages} held-out pages",
            f"{quantization.f1_macro:.3f}; checkpoint {quantization.checkpoint_f1_macro:.3f}, "
            f"difference {difference(quantization.difference)} (95 %), allowed -{quantization.tolerance:g}",
        )
        table.add_row("calibrated on", f"{quantization.calibration_pages} training pages")
    yield table
    yield report.files_table(result.files)
    if result.format == "safetensors":
        yield f'timm.create_model("local-dir:{escape(str(result.files[-1].parent))}", pretrained=True)'
