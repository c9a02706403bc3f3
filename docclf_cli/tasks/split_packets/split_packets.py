"""`split-packets`: finds the documents in packets, page after page, and writes tables and parts."""

from __future__ import annotations

import contextlib
import copy
import csv
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.index.cells import to_cell
from docclf_cli.data.index.file_list import FileList, PageList
from docclf_cli.data.index.inputs import find
from docclf_cli.data.index.left_out import LeftOut
from docclf_cli.data.loading.batch import Batch, collate
from docclf_cli.data.loading.data_loader import data_loader, read_one_by_one
from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput, cut
from docclf_cli.data.loading.pages import FilePages
from docclf_cli.data.text.page_text import TextMode
from docclf_cli.data.text.read import page_text
from docclf_cli.engine.inference.packet_model import LookedAt, PacketModel, require_packets
from docclf_cli.engine.inference.run_inference import run_inference
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.engine.runtime.device import Runtime, resolve_runtime
from docclf_cli.errors import InputError, is_dead_worker
from docclf_cli.events import Emit, Progress, silent
from docclf_cli.files import atomic_write
from docclf_cli.page_ids import is_paged
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.packets import PacketPart, SplitPacketsResult
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.split_packets.decided import DecidedCuts, read_cuts
from docclf_cli.tasks.split_packets.options import TARGET, CutOptions
from docclf_cli.tasks.split_packets.parts import (
    DECIDED,
    PacketCollector,
    PacketGaps,
    cut_limits,
    is_uncertain,
    parts_of,
)
from docclf_cli.tasks.split_packets.writing import PartsFolder

PAGES_AT_ONCE = 32
MOST_ROWS = 1000  # documents that a result holds itself
TASK = "splitting packets"
CRASHES = "makes its decoder crash, or needs too much memory"
SUFFIXES = (".csv", ".jsonl")
COLUMNS = (
    "packet", "part", "first_page", "last_page", "class", "confidence", "boundaries", "review", "uncertain", "cut_probabilities", "uncut", "file", "status",
)  # fmt: skip
logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class SplitOptions:
    """The options of `split-packets`.

    Attributes:
        inputs: Packets: files, folders, globs, CSV files, `-`.
        target_precision: How often cuts and joins without review are to be right.
        text: Whether text is read: `off`, `layer`, `ocr` (also OCR of pages without a layer), `auto` (OCR where an engine is
            installed).
        output: Table to write; None writes none.
        write: Folder for the parts; None writes none.
        cuts: Tables of decisions that people have made (`review_cuts.csv`); of several about one place the last counts.
        max_unreadable: Share of unreadable pages that is no failure; None is that of the training.
        overwrite: Replace an existing table.
    """

    inputs: tuple[str, ...]
    target_precision: float = TARGET
    text: TextMode = "auto"
    output: Path | None = None
    write: Path | None = None
    cuts: tuple[Path, ...] = ()
    max_unreadable: float | None = None
    overwrite: bool = False

    def check(self) -> None:
        """Refuse options that cannot be done.

        Raises:
            InputError: There is such an option.
        """
        if not self.inputs:
            raise InputError("no packet is named", "docclf split-packets RUN packet.pdf")
        for table in self.cuts:
            read_cuts(table)
        CutOptions(self.target_precision, self.text).check()
        write = self.write
        if write is not None and (
            inside := [one for one in self.inputs if write.resolve().is_relative_to(Path(one).resolve())]
        ):
            raise InputError(
                f"--write: {write} is inside of {inside[0]}", "the parts would become packets of the next call"
            )
        if self.output is not None and self.output.suffix.lower() not in SUFFIXES:
            raise InputError(f"--output {self.output}: name a table that ends in {' or '.join(SUFFIXES)}")
        if self.output is not None and self.output.exists() and not self.overwrite:
            raise InputError(f"{self.output} exists", "choose another --output, or add --overwrite to replace it")


@dataclass
class _Counts:
    found: int = 0
    review: int = 0
    uncertain: int = 0
    decided: int = 0
    unreadable: int = 0
    rows: list[PacketPart] = field(default_factory=list)

    def add(self, part: PacketPart) -> None:
        self.found += part.part is not None
        self.review += part.review
        if len(self.rows) < MOST_ROWS:
            self.rows.append(part)


def split_packets(
    member: TrainedModel,
    options: SplitOptions,
    *,
    stdin: IO[bytes],
    runtime_config: RuntimeConfig | None = None,
    reading: Mapping[str, Any] | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> SplitPacketsResult:
    """Find the documents in packets. Pages pass by one after another, so memory does not grow with a packet's pixels.

    Args:
        member: The model; it was trained with `train.packets`.
        options: What is asked.
        stdin: Where a list of files may come from.
        runtime_config: Device and numerics.
        reading: Keys of `data` that say how pages are read, where they differ from the training's.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        CheckpointError: The model was not trained to split packets.
        InputError: An input names nothing, or parts cannot be written.
        Interrupted: `stop` was set; parts of finished packets stay.
    """
    started = time.monotonic()
    options.check()
    require_packets(member)
    data = member.info.data.model_copy(update=dict(reading or {}))
    left_out = LeftOut()
    files = FileList(find(options.inputs, stdin, data.allow_symlinks, left_out))
    if not len(files):
        raise InputError("the list contains no files")
    left_out.warn()
    reader = PageReader(data.max_pixels, data.allow_symlinks)
    pages, closed = _counted(files, reader, emit, stop)
    config = runtime_config or RuntimeConfig()
    folder = None if options.write is None else PartsFolder(options.write, files, member.info.class_names)
    work = _Work(
        PacketModel.open(member, config, len(pages)),
        pages,
        closed,
        reader,
        resolve_runtime(config),
        options.text,
        emit,
        stop,
        DecidedCuts.read(options.cuts, files),
    )
    limits = work.model.limits(options.target_precision)
    counts = _Counts()
    with _table(options.output) as write_row:
        for row, packet in work.packets():
            parts = (
                list(parts_of(packet, limits, work.model.class_names))
                if packet.log_probs
                else [_closed(packet, closed[row])]
            )
            if folder is not None and packet.log_probs:
                parts = folder.write(row, parts)
            counts.unreadable += len(packet.reasons)
            counts.decided += sum(gap.kind == DECIDED for gap in packet.gaps)
            counts.uncertain += sum(is_uncertain(gap, limits) for gap in packet.gaps)
            for part in parts:
                counts.add(part)
                write_row(part)
    if folder is not None:
        folder.say()
    return SplitPacketsResult(
        model=str(member.path),
        packets=len(files),
        pages=len(pages),
        unreadable=counts.unreadable,
        max_unreadable=data.max_unreadable if options.max_unreadable is None else options.max_unreadable,
        found=counts.found,
        review=counts.review,
        uncertain_cuts=counts.uncertain,
        decided_cuts=counts.decided,
        target_precision=options.target_precision,
        limits=cut_limits(limits),
        text_pages=work.text_pages,
        signatures=0 if folder is None else folder.signatures,
        written=0 if folder is None else folder.written,
        seconds=time.monotonic() - started,
        parts=tuple(counts.rows) if counts.found <= MOST_ROWS else (),
        files=() if options.output is None else (options.output,),
    )


def _closed(packet: PacketGaps, reason: str) -> PacketPart:
    """The row of a packet that could not be opened."""
    return PacketPart(packet.packet, None, None, None, None, None, None, True, status=reason)


def _counted(files: FileList, reader: PageReader, emit: Emit, stop: StopFlag) -> tuple[PageList, dict[int, str]]:
    """The pages of the files, and why files could not be opened, by row."""
    counts, closed = np.ones(len(files), np.int32), dict[int, str]()
    for row in range(len(files)):
        stop.raise_if_set("stopped while packets were opened", "start the command again")
        if not is_paged(files[row].name) or files[row].page:
            continue
        try:
            counts[row] = reader.count(*files.path(row))
            if not counts[row]:
                raise UnreadablePage("has no pages")
        except UnreadablePage as error:
            counts[row], closed[row] = 0, error.reason
        emit(Progress("opening packets", row + 1, len(files)))
    return PageList.of(files, counts), closed


@dataclass(eq=False)
class _Work:
    model: PacketModel
    pages: PageList
    closed: Mapping[int, str]
    reader: PageReader
    runtime: Runtime
    text: TextMode
    emit: Emit
    stop: StopFlag
    decided: DecidedCuts
    text_pages: int = 0

    def __post_init__(self) -> None:
        self._own_reader = copy.copy(self.reader)  # that of the pages may be some pages ahead, in another file

    def packets(self) -> Iterator[tuple[int, PacketGaps]]:
        """Each file of the list with what was found in it, in the order of the list."""
        pages = self._looked_at()
        for row, (start, end) in enumerate(itertools.pairwise(self.pages.starts.tolist())):
            packet = PacketCollector(self.pages.files[row].shown, self.model, self.decided.of(row))
            for page in itertools.islice(pages, end - start):
                packet.add(page)
            found = packet.found()
            yield row, replace(found, log_probs=[]) if row in self.closed else found

    def _looked_at(self) -> Iterator[LookedAt | str]:
        """Every page in order, or why it could not be read."""
        ran = run_inference(
            [lambda batch: self.model.look(batch, self._size_of, self._text_of)],
            self._batches(),
            total=len(self.pages),
            task=TASK,
            hint="start the command again; the parts of finished packets stay",
            emit=self.emit,
            stop=self.stop,
        )
        for batch, outputs in ran:
            found: dict[int, LookedAt | str] = dict(batch.unreadable)
            for looked_at in outputs:
                found |= dict(zip(batch.rows.tolist(), looked_at, strict=True))
            yield from (found[number] for number in sorted(found))

    def _batches(self) -> Iterator[Batch]:
        """All pages in order; where a page ends its loader process, its batch is read one by one."""
        dataset = InferenceDataset((ModelInput(FilePages(self.pages, self.reader, self.model.networks[0].preprocess)),))
        left, on_wait = cut(range(len(self.pages)), PAGES_AT_ONCE), self.stop.check_while_waiting
        while left:
            try:
                for batch in data_loader(
                    dataset,
                    left,
                    workers=self.runtime.workers,
                    pin=self.runtime.device.type == "cuda",
                    on_wait=on_wait,
                ):
                    left = left[1:]
                    yield batch
            except RuntimeError as error:
                if not is_dead_worker(error):
                    raise
                logger.info("a page crashed its loader process: the pages next to it are read one by one")
                yield _one_by_one(dataset, left[0], on_wait)
                left = left[1:]

    def _size_of(self, number: int) -> tuple[float, float]:
        row, page = self.pages.place(number)
        try:
            return self._own_reader.size(*self.pages.files.path(row), page)
        except UnreadablePage:  # its pixels were read a moment ago: the file has changed since
            return 1.0, 1.0

    def _text_of(self, number: int) -> str:
        row, page = self.pages.place(number)
        path, root = self.pages.files.path(row)
        found = page_text(path, page, self.text, reader=self._own_reader, root=root)
        self.text_pages += bool(found)
        return found.text


def _one_by_one(dataset: InferenceDataset, numbers: Iterable[int], on_wait: Callable[[], object]) -> Batch:
    read = read_one_by_one(dataset, list(numbers), on_wait)
    return collate([(None, CRASHES, number) if sample is None else sample for number, sample in read])


@contextlib.contextmanager
def _table(path: Path | None) -> Iterator[Callable[[PacketPart], object]]:
    """What writes rows to a table as they come; the table is there, whole, at the end of the block."""
    if path is None:
        yield lambda part: None
        return
    with atomic_write(path, "w") as file:
        if path.suffix.lower() == ".csv":
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            yield lambda part: writer.writerow([to_cell(_cell(value)) for value in _row(part).values()])
        else:
            yield lambda part: file.write(_line(part))


def _row(part: PacketPart) -> dict[str, Any]:
    """A part by column."""
    values = {"class" if name == "predicted" else name: value for name, value in asdict(part).items()}
    return {name: values[name] for name in COLUMNS}


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6f}"
    return " ".join(map(_cell, value)) if isinstance(value, tuple) else str(value)


def _line(part: PacketPart) -> str:
    row = {name: round(value, 6) if isinstance(value, float) else value for name, value in _row(part).items()}
    row["cut_probabilities"] = [round(share, 6) for share in part.cut_probabilities]
    row["file"] = None if part.file is None else str(part.file)
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace").decode() + "\n"
