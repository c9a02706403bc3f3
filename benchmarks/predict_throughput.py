"""Pages per second of `docclf predict` on 200 dpi A4 pages, against decoding alone and against the model alone.

    python benchmarks/predict_throughput.py --checkpoint runs/mine --pages 200

The pages are drawn here: text on a scanner's paper, as JPEGs, as one PDF of scans (a JPEG on each page) and as one PDF
of text. Decoding alone uses as many processes as `predict` does, and no model; the model alone looks at batches that
are in memory already. The best that `predict` can do with decoding and model on the same cores is the harmonic sum.

Last, the JPEGs as a data set, as `evaluate` and `ensemble` look at them: filling the page cache against decoding alone,
and predicting from the full cache against the model alone, in turn, medians of three.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from docclf_cli.hardware import limit_thread_spinning

limit_thread_spinning()  # as `docclf` does

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from docclf_cli.data.images.page_files import PageReader, is_paged
from docclf_cli.data.index.file_list import FileList, PageList
from docclf_cli.data.index.index import load_index
from docclf_cli.data.index.inputs import find
from docclf_cli.data.loading.batch import Batch
from docclf_cli.data.loading.data_loader import data_loader
from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput
from docclf_cli.data.loading.pages import FilePages
from docclf_cli.data.loading.prepared_pages import prepare
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.inference.ensemble_predictor import EnsemblePredictor, build_ensemble_predictor
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.engine.inference.predictor import IMAGES_PER_PASS, Network, Predictor, inference_runtime
from docclf_cli.engine.inference.run_inference import predict as look
from docclf_cli.engine.runtime.device import Runtime, resolve_runtime
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.tasks.predict.predict import PredictOptions, predict
from docclf_cli.tasks.predict.run import plan_of

A4 = (1654, 2339)  # pixels at 200 dpi


def scanned(number: int) -> Image.Image:
    """A page of text with the grain of a scanner."""
    rng = np.random.default_rng(number)
    image = Image.new("RGB", A4, "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(28)
    for line in range(60):
        draw.text((120, 140 + 34 * line), "".join(map(chr, rng.integers(97, 123, 70))), fill="black", font=font)
    grain = rng.normal(0, 6, (A4[1], A4[0], 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def write_pages(folder: Path, pages: int) -> dict[str, str]:
    """Inputs by what they are."""
    (folder / "jpeg").mkdir()
    distinct = [scanned(number) for number in range(min(pages, 8))]
    for number in range(pages):
        distinct[number % len(distinct)].save(folder / "jpeg" / f"{number:05d}.jpg", quality=85)
    first, *others = [distinct[number % len(distinct)] for number in range(pages)]
    first.save(folder / "scans.pdf", save_all=True, append_images=others, resolution=200)
    write_text_pdf(folder / "text.pdf", pages)
    return {
        "JPEG": str(folder / "jpeg"),
        "PDF of scans": str(folder / "scans.pdf"),
        "PDF of text": str(folder / "text.pdf"),
    }


def write_text_pdf(path: Path, pages: int) -> None:
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    rng = np.random.default_rng(0)
    with PdfPages(path) as pdf:
        for _ in range(pages):
            figure = Figure(figsize=(8.27, 11.69))
            for line in range(50):
                figure.text(0.1, 0.95 - 0.018 * line, "".join(map(chr, rng.integers(97, 123, 70))), fontsize=9)
            pdf.savefig(figure)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def decoding(given: str, predictor: EnsemblePredictor, runtime: Runtime) -> float:
    """Pages per second of reading and resizing alone."""
    reader = PageReader(10**9)
    files = FileList(find([given], io.BytesIO()))
    counts = np.ones(len(files), np.int32)
    for row in range(len(files)):
        if is_paged(files[row].name):
            counts[row] = reader.count(*files.path(row))
    pages = PageList.of(files, counts)
    plan = plan_of(pages, IMAGES_PER_PASS)
    batches = [batch for shard in range(plan.shards) for batch in plan.batches(shard)]
    inputs = [ModelInput(FilePages(pages, reader, preprocess), views) for preprocess, views in predictor.inputs]
    loader = data_loader(InferenceDataset(inputs), batches, workers=runtime.workers)
    return len(pages) / seconds(lambda: sum(map(len, loader)))


def forward(predictor: EnsemblePredictor, pages: int) -> float:
    """Pages per second of the model on batches that are in memory."""
    size = predictor.inputs[0][0].size
    images = (torch.randint(0, 256, (IMAGES_PER_PASS, 3, size, size), dtype=torch.uint8),)
    batch = Batch(images, torch.full((IMAGES_PER_PASS,), -1), np.arange(IMAGES_PER_PASS))
    rounds = max(1, pages // IMAGES_PER_PASS)
    predictor(batch)
    return rounds * IMAGES_PER_PASS / seconds(lambda: [predictor(batch) for _ in range(rounds)])


def whole(given: str, checkpoint: Path, output: Path, config: RuntimeConfig) -> float:
    """Pages per second of `predict`, without the start of Python and the loading of the model."""
    question = PredictOptions(inputs=(given,), output=output)
    return predict(
        EnsembleSpec.of_checkpoint(checkpoint), question, stdin=io.BytesIO(), runtime_config=config
    ).pages_per_second


def measured(folder: Path, checkpoint: Path, pages: int) -> Iterator[tuple[str, float, float, float]]:
    config = RuntimeConfig()
    runtime = resolve_runtime(config)
    predictor = build_ensemble_predictor(EnsembleSpec.of_checkpoint(checkpoint), config, pages)
    for name, given in write_pages(folder, pages).items():
        yield (
            name, decoding(given, predictor, runtime), forward(predictor, pages),
            whole(given, checkpoint, folder / name, config),
        )  # fmt: skip


def cached(folder: Path, checkpoint: Path) -> tuple[float, float, float]:
    """Pages per second of filling the page cache, of predicting from it, and of the model alone."""
    names = sorted(path.name for path in (folder / "jpeg").iterdir())
    rows = [f"{name},{number % 2}" for number, name in enumerate(names)]
    (folder / "jpeg.csv").write_text("\n".join(["ID,target", *rows]))
    loaded = Checkpoint.load(checkpoint)
    data = DataConfig(root=str(folder / "jpeg.csv"), cache=str(folder / "cache"))
    index, runtime = load_index(data, "train"), inference_runtime(RuntimeConfig(), loaded)
    started = time.perf_counter()
    pages = prepare(index, loaded.preprocess, data, runtime.workers).pages
    filled = time.perf_counter() - started
    network = Network(runtime.place(loaded.build()), loaded.preprocess, runtime)
    predictor = Predictor((network,), loaded.class_names)
    dataset = InferenceDataset((ModelInput(pages),), index.targets)
    size = loaded.preprocess.size
    images = torch.randint(0, 256, (IMAGES_PER_PASS, 3, size, size), dtype=torch.uint8)
    batches = [images[: len(index) - start] for start in range(0, len(index), IMAGES_PER_PASS)]
    works = (
        lambda: look(predictor, dataset, index, range(len(index))),
        lambda: [network.log_probs(one) for one in batches],
    )
    times = [[seconds(work) for work in works] for _ in range(4)][1:]
    warm, resident = (statistics.median(column) for column in zip(*times, strict=True))
    return len(index) / filled, len(index) / warm, len(index) / resident


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--pages", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temp:
        print(f"{'pages/s':14}{'decoding':>10}{'model':>10}{'both':>10}{'predict':>10}{'of both':>9}", flush=True)
        decode_rate = []
        for name, decoded, seen, done in measured(Path(temp), options.checkpoint, options.pages):
            both = 1 / (1 / decoded + 1 / seen)
            decode_rate.append(decoded)
            print(f"{name:14}{decoded:10.1f}{seen:10.1f}{both:10.1f}{done:10.1f}{done / both:9.0%}", flush=True)
        filled, warm, resident = cached(Path(temp), options.checkpoint)
    print(f"filling the page cache {filled:.1f} pages/s, {filled / decode_rate[0]:.0%} of decoding alone")
    print(f"from the page cache {warm:.1f} pages/s, {warm / resident:.0%} of the model alone ({resident:.1f})")


if __name__ == "__main__":
    main()
