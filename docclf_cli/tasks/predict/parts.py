"""`predict --part i/n` (or `any/n`) and `--join`: processes that know nothing of each other share the work of one call.

A part is a folder that holds all that its share of the tables needs, so it may be made on another machine and copied.
The share is a function of the list of the input alone, and documents stay whole. Batches are those of a call without
parts, so on machines of one kind the joined tables are the same, byte by byte.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.index.file_list import FileList, Found, PageList
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.ensemble_predictor import EnsemblePredictor
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.errors import InputError, ResourceError
from docclf_cli.events import Emit, silent
from docclf_cli.files import atomic_write, write_json
from docclf_cli.results.prediction import PartResult, PredictResult
from docclf_cli.services.storage.remote_files import S3Files
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.predict.files import OutputFiles
from docclf_cli.tasks.predict.page_predictions import PagePredictions
from docclf_cli.tasks.predict.part_settings import machine_kind, options_from, packages, stored_options, what_differs
from docclf_cli.tasks.predict.run import (
    OutputOptions,
    PredictWork,
    batch_size,
    grid,
    make_shards,
    page_counts,
    plan_of,
    publish,
)
from docclf_cli.tasks.predict.shards import Shard, ShardPlan, ShardStore
from docclf_cli.tasks.predict.sorting import sort_copies
from docclf_cli.tasks.predict.summary import PredictorFacts
from docclf_cli.text import and_more

MOST_PARTS = 100_000
ANY = 0  # in the place of a part's number: those that no other process makes
SHOWN = 5  # parts that a message names
FILES, ABOUT, DONE = "files.jsonl", "about.json", "done.json"
_SHARE = re.compile(r"(any|[1-9]\d{0,5})/([1-9]\d{0,5})")
_FOLDER = re.compile(r"part-(\d+)-of-(\d+)")
logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class Share:
    """One of several equal shares of the work.

    Attributes:
        number: Which one, counted from 1; `ANY` for one after another.
        of: How many there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read `i/n`, or `any/n`, which has the number `ANY`.

        Raises:
            InputError: It is something else.
        """
        found = _SHARE.fullmatch(text.strip())
        number, of = (ANY if found[1] == "any" else int(found[1]), int(found[2])) if found else (1, 0)
        if not (number == ANY or 1 <= number <= of) or not 1 <= of <= MOST_PARTS:
            raise InputError(
                f"--part: '{text}' is not I/N with I from 1 to N, and N at most {MOST_PARTS:,}",
                "--part 3/20 is the third of twenty parts, --part any/20 each that no other process makes",
            )
        return cls(number, of)

    @property
    def folder(self) -> str:
        """The name of its folder."""
        width = len(str(self.of))
        return f"part-{self.number:0{width}}-of-{self.of}"

    def of_files(self, files: FileList, blocks: np.ndarray) -> FileList:
        """Its files: a run of whole blocks (`FileList.blocks`)."""
        count = len(blocks) - 1
        first, end = (count * place // self.of for place in (self.number - 1, self.number))
        return files.share(int(blocks[first]), int(blocks[end]))


@dataclass(frozen=True, eq=False)
class PartMaker:
    """Makes parts of a call, each in a folder of its own below `output`; all ranks make the same one together.

    Attributes:
        files: The whole input.
        predictor: The model or ensemble.
        options: What the tables are to hold.
        output: Parent of the folders of the parts.
        reader: How pages are read.
        runtime: Device and loader processes.
        pages: Which pages of PDF and TIFF files, as `data.pages`.
        file_format: Of the tables.
        left_out: What of the input is no page, by kind.
        emit: Consumer of progress events.
        stop: Polled between batches.
    """

    files: FileList
    predictor: EnsemblePredictor
    options: OutputOptions
    output: Path
    reader: PageReader
    runtime: Runtime
    pages: str | int = "all"
    file_format: str = "csv"
    left_out: Mapping[str, int] = field(default_factory=dict)
    emit: Emit = silent
    stop: StopFlag = NEVER

    @functools.cached_property
    def blocks(self) -> np.ndarray:
        """The blocks of the input."""
        return self.files.blocks(batch_size(self.predictor))

    def make(self, share: Share) -> PartResult:
        """Predict the pages of one share; what was interrupted goes on, and what is complete is left as it is.

        Raises:
            InputError: The part is there, complete, and of another call; or another process is making it.
            Interrupted: `stop` was set; what is done is kept.
        """
        started = time.monotonic()
        own = share.of_files(self.files, self.blocks)
        shards = ShardStore(self.output / share.folder)
        work = PredictWork(own, self.predictor, self.reader, self.runtime, shards, self.emit, self.stop)
        with contextlib.ExitStack() as stack:
            listed, plan, missing = distributed.on_main(lambda: self._open(share, work, stack))
            make_shards(work, plan, listed, self.runtime.shard_of(np.array(missing, np.int64)).tolist())
            distributed.barrier()
            unreadable = distributed.on_main(lambda: _finish(work.shards, plan))
        return PartResult(
            model=self.options.model,
            parts=(share.number,),
            of=share.of,
            left=(),
            folder=self.output,
            inputs=int(listed.first_of_document.sum()),
            pages=len(listed),
            unreadable=unreadable,
            resumed_pages=len(listed) - sum(len(plan.numbers(one)) for one in missing),
            seconds=time.monotonic() - started,
            join=shlex.join(["docclf", "predict", "--join", str(self.output)]),
        )

    def make_free(self, of: int) -> PartResult:
        """Make one part after another that is not complete and that no other process is making.

        Processes may join and leave at any time: the lock of one that ends, even by a kill, is free again.

        Args:
            of: How many parts there are.

        Raises:
            InputError: A part is of another call; or several processes are to work as one (`torchrun`).
            Interrupted: `stop` was set; what is done is kept.
        """
        if distributed.is_distributed():
            raise InputError(f"--part any/{of}: each process takes parts of its own", "start it without torchrun")
        made, left = list[PartResult](), list[int]()
        for share in (Share(number, of) for number in range(1, of + 1)):
            folder = self.output / share.folder
            if (folder / DONE).is_file() and ShardStore(folder).is_begun(self._settings(share)):
                continue
            try:
                made.append(self.make(share))
            except InputError:
                if not RunFolder(folder).is_being_written:
                    raise
                left.append(share.number)
        sums = {
            name: sum(getattr(one, name) for one in made)
            for name in ("inputs", "pages", "unreadable", "resumed_pages", "seconds")
        }
        join = shlex.join(["docclf", "predict", "--join", str(self.output)])
        parts = tuple(one.parts[0] for one in made)
        return PartResult(self.options.model, parts, of, tuple(left), self.output, join=join, **sums)

    def _settings(self, share: Share) -> dict[str, Any]:
        return {
            **self.predictor.settings,
            "inputs": self.files.fingerprint(),
            "grid": grid(self.predictor, self.pages),
            "machine": machine_kind(self.runtime),
            "packages": packages(),
            "options": {**stored_options(self.options), "format": self.file_format},
            "part": [share.number, share.of],
        }

    def _open(
        self, share: Share, work: PredictWork, stack: contextlib.ExitStack
    ) -> tuple[PageList, ShardPlan, list[int]]:
        """Lock the folder, and return the pages, how they are divided, and which shards are not stored yet."""
        folder, settings = work.shards.folder, self._settings(share)
        if (folder / DONE).is_file() and not self.options.overwrite and not work.shards.is_begun(settings):
            raise InputError(
                f"{folder} is a part of another call: other {_named(work.shards.changed(settings))}",
                "choose another --output, or add --overwrite to replace it",
            )
        stack.enter_context(RunFolder(folder).writing("wait for it, or make another --part"))
        work.shards.open(settings)
        about = {"model": self.options.model, "predictor": asdict(PredictorFacts.of(self.predictor))}
        write_json(folder / ABOUT, {**about, "left out": dict(self.left_out)})
        _write_files(folder / FILES, work.files)
        listed = PageList.of(work.files, page_counts(work, self.pages))
        plan = plan_of(listed, batch_size(self.predictor))
        return listed, plan, work.shards.missing(plan)


def _finish(shards: ShardStore, plan: ShardPlan) -> int:
    """Note that a part is complete, and count its unreadable pages."""
    if shards.missing(plan):
        raise ResourceError(
            f"{shards.folder} does not contain the files of the other processes",
            "all machines need access to one shared folder: name it with --output",
        )
    unreadable = sum(int((shards.read(one).reasons != "").sum()) for one in range(plan.shards))
    write_json(shards.folder / DONE, {"pages": plan.pages, "unreadable": unreadable})
    return unreadable


@dataclass(frozen=True, eq=False)
class _Part:
    """A part that is complete."""

    folder: Path
    share: Share
    settings: Mapping[str, Any]
    files: tuple[Found, ...]
    counts: np.ndarray


def join_parts(
    parent: Path,
    output: Path,
    *,
    file_format: str | None = None,
    overwrite: bool = False,
    copy_to: Path | None = None,
    allow_symlinks: bool = False,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> PredictResult:
    """Write the tables of all parts, as a call without parts does; the parts stay.

    Args:
        parent: Folder of the parts.
        output: Folder of the tables, or a table with its siblings.
        file_format: Of the tables; None is that of the parts.
        overwrite: Replace existing results.
        copy_to: Sort copies of the files into class folders below this one.
        allow_symlinks: Follow symbolic links that leave the folder a file was found in.
        emit: Consumer of progress events.
        stop: Polled between files.

    Raises:
        InputError: Parts are missing or not complete, or belong to different calls; or results are there already.
        Interrupted: `stop` was set.
    """
    started = time.monotonic()
    parts = _parts(parent)
    first = parts[0]
    wanted = first.settings["options"]
    outputs = OutputFiles.at(output, file_format or wanted["format"])
    if (there := [path for path in outputs.results if path.exists()]) and not overwrite:
        raise InputError(f"{there[0]} exists", "choose another --output, or add --overwrite to replace it")
    about = json.loads((first.folder / ABOUT).read_text(encoding="utf-8"))
    facts = PredictorFacts(**{**about["predictor"], "class_names": tuple(about["predictor"]["class_names"])})
    files = FileList(found for part in parts for found in part.files)
    pages = PageList.of(files, np.concatenate([part.counts for part in parts]))
    size, plans = first.settings["grid"][0], list[ShardPlan]()
    for part, listed in zip(parts, _each(parts, files, pages), strict=True):
        plans.append(plan_of(listed, size))
        if ShardStore(part.folder).missing(plans[-1]):
            raise InputError(f"{part.folder} is not complete", _again([part.share]))
    options = replace(options_from(wanted, about["model"], outputs), overwrite=overwrite, copy_to=copy_to)
    shards = _JoinedShards([(ShardStore(part.folder), plan.shards) for part, plan in zip(parts, plans, strict=True)])
    predictions = PagePredictions(shards, ShardPlan.joined(plans), pages, options.rule)
    result = publish(predictions, facts, options, 0, time.monotonic() - started)
    if copy_to is not None:
        sorted_copies = sort_copies(
            copy_to, predictions.of_documents(), files, facts.class_names,
            allow_symlinks=allow_symlinks, remote=S3Files(), emit=emit, stop=stop,
        )  # fmt: skip
        result = replace(result, copied=sorted_copies.copied)
    return replace(result, left_out=about["left out"], parts=len(parts))


class _JoinedShards:
    """The shards of several stores, numbered one after another.

    Args:
        stores: Each with the number of its shards.
    """

    def __init__(self, stores: Sequence[tuple[ShardStore, int]]) -> None:
        self._stores = [store for store, _ in stores]
        self._ends = np.cumsum([count for _, count in stores])

    def read(self, shard: int) -> Shard:
        """One of them.

        Raises:
            ResourceError: Its file is damaged.
        """
        at = int(np.searchsorted(self._ends, shard, side="right"))
        return self._stores[at].read(shard - (int(self._ends[at - 1]) if at else 0))


def _parts(parent: Path) -> list[_Part]:
    """All parts below a folder, in their order.

    Raises:
        InputError: Some are missing, not complete, or of another call.
    """
    folders = ((_FOLDER.fullmatch(path.name), path) for path in sorted(parent.glob("part-*-of-*")))
    found = {Share(int(name[1]), int(name[2])): path for name, path in folders if name}
    if not found:
        raise InputError(f"{parent}: there are no parts in it", "docclf predict RUN INPUT --part 1/20 writes one")
    totals = sorted({share.of for share in found})
    if len(totals) > 1:
        raise InputError(
            f"{parent}: there are parts of {totals[0]} and of {totals[1]}, which are parts of different calls",
            "move those of one call to a folder of their own",
        )
    shares = [Share(number, totals[0]) for number in range(1, totals[0] + 1)]
    if missing := [share for share in shares if not (found.get(share, parent) / DONE).is_file()]:
        running = [share for share in missing if share in found and RunFolder(found[share]).is_being_written]
        state = "is being made" if running == missing[:1] else "missing or not complete"
        names = and_more([f"{share.number}/{share.of}" for share in missing[:SHOWN]], len(missing))
        raise InputError(f"{parent}: {state}: part {names}", _again(missing))
    parts = [_read_part(found[share], share) for share in shares]
    for part in parts[1:]:
        changed = [name for name in parts[0].settings if name != "part" and part.settings.get(name) != parts[0].settings[name]]  # fmt: skip
        if changed:
            raise InputError(
                f"{part.folder} was made with other {_named(changed)} than {parts[0].folder.name}",
                what_differs(changed[0], parts[0].settings[changed[0]], part.settings.get(changed[0])),
            )
    return parts


def _read_part(folder: Path, share: Share) -> _Part:
    store = ShardStore(folder)
    settings, counts = store.settings(), store.array("counts")
    try:
        with (folder / FILES).open(encoding="utf-8") as lines:
            files = tuple(Found(*json.loads(line)) for line in lines)
    except (OSError, ValueError, TypeError) as error:
        raise ResourceError(f"{folder / FILES}: damaged", _again([share])) from error
    if counts is None or len(counts) != len(files) or not settings:
        raise ResourceError(f"{folder}: damaged", f"delete it, and {_again([share])}")
    return _Part(folder, share, settings, files, counts)


def _each(parts: Sequence[_Part], files: FileList, pages: PageList) -> Iterator[PageList]:
    """The pages of each part."""
    start = 0
    for part in parts:
        end = start + len(part.files)
        yield PageList.of(files.share(start, end), pages.counts[start:end])
        start = end


def _write_files(path: Path, files: FileList) -> None:
    with atomic_write(path, "w") as lines:
        for row in range(len(files)):
            one = files[row]
            lines.write(json.dumps([one.folder, one.name, one.shown, one.root, one.page]) + "\n")


def _named(names: Sequence[str]) -> str:
    return " and ".join(names)


def _again(shares: Sequence[Share]) -> str:
    return f"run the same command again with --part {shares[0].number}/{shares[0].of}"
