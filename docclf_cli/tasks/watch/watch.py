"""Sorts the files that arrive in a folder, each exactly once.

A file is known by its content. What is to become of it is in the journal before anything is written, and that it is
done is in the journal afterwards. So a process that is killed at any point goes on where it was: a file whose copy is
there is done, any other is copied again under the same name.

The parts of a packet are written side by side in the watcher's own folder first. Then their places are in the journal, and
then each gets its place, which the journal says as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from docclf_cli.data.images.decode import UnreadablePage, open_page
from docclf_cli.data.images.page_files import PAGE_SUFFIXES
from docclf_cli.data.index.folders import walk
from docclf_cli.data.index.left_out import LeftOut
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.errors import InputError, ResourceError
from docclf_cli.files import TEMP_PREFIX, sha256_of
from docclf_cli.journal import JOURNAL, Journal
from docclf_cli.page_ids import is_paged
from docclf_cli.results.as_json import jsonable
from docclf_cli.results.serving import ServedPrediction
from docclf_cli.results.watching import WatchResult
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.predict.page_predictions import PageScores
from docclf_cli.tasks.predict.sorting import REVIEW, UNKNOWN_FILES, UNREADABLE_FILES, folder_names, place_copy
from docclf_cli.tasks.serve.decoding import DecodePool, TooManyPages
from docclf_cli.tasks.serve.served_model import ServedModel, of_all_pages
from docclf_cli.tasks.watch.packets import PacketSorter, SplitFile, StagedParts, part_name
from docclf_cli.tasks.watch.tally import Tally, is_unknown
from docclf_cli.tasks.watch.telling import Teller, copies_of

logger = logging.getLogger("docclf")
STATE = ".docclf-watch"  # in the output folder: journal, lock, and copies that are not complete yet
SUMMARY_EVERY = 3600.0  # seconds
MOST_BYTES = 10**9  # of a file, which is held in memory
PLANNED, PLACED, DONE = "planned", "placed", "done"


@dataclass(frozen=True)
class WatchOptions:
    """What to do with files that arrive.

    Attributes:
        inbox: The folder that is watched.
        output: Parent of the class folders.
        move: Remove a file from the inbox once its copy is complete.
        once: End when everything that is there now has been handled.
        every: Seconds between looks at the inbox.
        settle: Seconds that size and time of a file must not have changed before it is read.
        command: Gets the JSON of each file on its stdin; empty for none.
        command_seconds: Longest time that the command may take.
        allow_symlinks: Follow symbolic links.
    """

    inbox: Path
    output: Path
    move: bool = False
    once: bool = False
    every: float = 2.0
    settle: float = 2.0
    command: tuple[str, ...] = ()
    command_seconds: float = 60.0
    allow_symlinks: bool = False

    def check(self) -> None:
        """Refuse folders that cannot be watched.

        Raises:
            InputError: The inbox is no folder, one of the folders lies in the other, or there is no such program.
        """
        if not self.inbox.is_dir():
            raise InputError(f"{self.inbox} is no folder", "name the folder in which files arrive")
        inbox, output = self.inbox.resolve(), self.output.resolve()
        if inbox == output or output.is_relative_to(inbox) or inbox.is_relative_to(output):
            raise InputError(
                f"--out {self.output} and {self.inbox} overlap",
                "sorted files would be sorted again: name another folder",
            )
        if self.command and shutil.which(self.command[0]) is None:
            raise InputError(f"--exec: there is no program '{self.command[0]}'", "name one by its path, or one on PATH")


@dataclass(frozen=True)
class _Mark:
    """Size and time of a file, by which a change is noticed."""

    size: int
    modified: int


class Watcher:
    """Sorts what arrives in a folder; its journal lies in the output folder.

    Args:
        options: What to do.
        model: What decides; where it has a splitter, packets are split.
        pool: Decodes files.
        stop: Polled between files.
    """

    def __init__(self, options: WatchOptions, model: ServedModel, pool: DecodePool, stop: StopFlag) -> None:
        self._options, self._model, self._pool, self._stop = options, model, pool, stop
        self._staged = StagedParts(options.output / STATE)
        self._packets = None if model.splitter is None else PacketSorter(self._staged, model, model.splitter, pool)
        self._folders = dict(zip(model.predictor.class_names, folder_names(model.predictor.class_names), strict=True))
        self._tally, self._left_out = Tally(), LeftOut()
        self._handled: dict[str, _Mark] = {}  # files of the inbox that need no more work, while they stay as they are
        self._arriving: dict[str, tuple[_Mark, float]] = {}
        self._done: dict[str, Mapping[str, Any]] = {}  # what was planned for a file, by its SHA-256
        self._placed = set[str]()  # IDs of parts that have their place, of packets that are not done
        self._teller = Teller(options.command, options.command_seconds, options.inbox, options.output)

    def run(self) -> WatchResult:
        """Sort files until it is stopped, or with `once` until nothing is left to do.

        Raises:
            InputError: Another watcher sorts into this folder.
            Interrupted: It was stopped.
        """
        options = self._options
        with RunFolder(options.output / STATE).writing():
            self._journal = Journal(options.output / STATE / JOURNAL)
            with contextlib.closing(self._journal):
                self._recover()
                next_summary = time.monotonic() + SUMMARY_EVERY
                while True:
                    waiting = self._round()
                    if options.once and not waiting:
                        self._left_out.warn(options.inbox)
                        return self._result()
                    if time.monotonic() >= next_summary:
                        logger.info("%s", self._tally.summary(len(self._arriving)))
                        next_summary += SUMMARY_EVERY
                    self._pause()

    def _pause(self) -> None:
        end = time.monotonic() + self._options.every
        while (left := end - time.monotonic()) > 0:
            self._stop.raise_if_set("stopped watching", "start the command again to continue; each file is sorted once")
            time.sleep(min(left, 0.1))

    def _round(self) -> bool:
        """Look at the inbox once; whether something is left to do."""
        self._left_out = LeftOut()
        found = tuple(walk(self._options.inbox, PAGE_SUFFIXES, self._options.allow_symlinks, self._left_out))
        waiting = False
        for name in found:
            self._stop.raise_if_set("stopped watching", "start the command again to continue; each file is sorted once")
            try:
                waiting |= not self._look_at(name)
            except ResourceError as error:  # the disk is full, or a share has gone: later it may be there again
                logger.warning("%s stays in the inbox for now: %s", name, error.message)
                waiting = True
        for gone in self._handled.keys() - set(found):
            del self._handled[gone]
        self._teller.tell(self._journal, self._stop)
        return waiting

    def _look_at(self, name: str) -> bool:
        """Handle a file once it has settled; whether nothing is left to do about it."""
        path, now = self._options.inbox / name, time.monotonic()
        mark = _mark_of(path)
        if mark is None or self._handled.get(name) == mark:
            return True
        seen, since = self._arriving.get(name, (None, now))
        if seen != mark:
            self._arriving[name] = mark, now
            since = now
        if now - since < self._options.settle:
            return False
        if mark.size > MOST_BYTES:
            logger.warning("%s stays in the inbox: it is larger than %d GB", path, MOST_BYTES // 10**9)
            self._handled[name] = mark
            return True
        try:
            with open_page(path, self._options.inbox, self._options.allow_symlinks) as file:
                content = file.read()
        except UnreadablePage as error:
            logger.warning("%s cannot be opened: %s", path, error.reason)
            self._handled[name] = mark
            return True
        if _mark_of(path) != mark:
            return False  # it has changed while it was read
        self._handle(name, content)
        self._arriving.pop(name, None)
        if self._options.move and _mark_of(path) == mark:
            path.unlink(missing_ok=True)
        else:
            self._handled[name] = mark
        return True

    def _handle(self, name: str, content: bytes) -> None:
        """Put a file where it belongs, unless its content is there already."""
        key = hashlib.sha256(content).hexdigest()
        if key in self._done and (not self._options.move or self._is_there(key)):
            self._tally.duplicates += 1
            return
        found = self._split(name, content, key) if self._packets and is_paged(name) else None
        event: dict[str, Any] = {"event": PLANNED, "id": key, "source": name}
        if found is not None and found.parts:
            event["parts"] = self._planned_parts(name, key, found)
        else:
            answer = self._classified(name, content) if found is None else found.whole
            folder = REVIEW if found is not None and found.reason else self._folder_of(answer)
            event["destination"] = self._free_place(folder, PurePath(name), key)
            event["answer"] = jsonable(answer)
            if found is not None and found.reason:
                event["uncertain"] = list(found.uncertain)
        self._journal.append(event)
        if "parts" in event:
            self._place_parts(event)
        else:
            self._put(event, content)
        self._note_done(event)

    def _is_there(self, key: str) -> bool:
        """Whether the copy of a content is still where it was put, so that another one may be removed."""
        return all(self._has(part) for part in copies_of(self._done[key]))

    def _has(self, part: Mapping[str, Any]) -> bool:
        place = self._options.output / part["destination"]
        return place.is_file() and sha256_of(place) == part["sha256"]

    def _split(self, name: str, content: bytes, key: str) -> SplitFile:
        assert self._packets is not None
        try:
            return self._packets.split(name, content, key)
        except TooManyPages as error:
            return SplitFile(self._model.answer(name, [], 1, status=f"the file {error}"))

    def _planned_parts(self, name: str, key: str, found: SplitFile) -> list[dict[str, Any]]:
        """Where the parts of a packet are to go; each has an ID that is the same each time."""
        return [
            {
                "id": f"{key}-p{part.pages[0]}-{part.pages[1]}",
                "pages": part.pages,
                "destination": self._free_place(self._folder_of(part.answer), part_name(name, part.pages), part.sha256),
                "sha256": part.sha256,
                "answer": jsonable(part.answer),
            }
            for part in found.parts
        ]

    def _place_parts(self, event: Mapping[str, Any]) -> None:
        """Give the parts of a packet their places, one after another.

        Raises:
            ResourceError: The folder cannot be written to, or a part is not there any more.
        """
        suffix = PurePath(event["source"]).suffix
        for part in event["parts"]:
            if part["id"] in self._placed:
                continue
            if not self._has(part):
                place = self._options.output / part["destination"]
                try:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place_copy(self._staged.path(event["id"], part["pages"], suffix), place)
                except OSError as error:
                    raise ResourceError(f"{place} cannot be written: {error.strerror or error}", "see --out") from error
            self._journal.append({"event": PLACED, "id": part["id"]})
            self._placed.add(part["id"])

    def _classified(self, name: str, content: bytes) -> ServedPrediction:
        model = self._model
        try:
            pages = self._pool.decode(content, model.preprocesses, model.text_mode)
        except TooManyPages as error:
            return model.answer(name, [], 1, status=f"the file {error}")
        readable, found = [page for page in pages if page.images], list[PageScores]()
        for start in range(0, len(readable), model.most_pages):
            found += model.outputs(readable[start : start + model.most_pages])
        return model.answer(name, of_all_pages(pages, found), 3)

    def _folder_of(self, answer: ServedPrediction) -> str:
        document = answer.document
        if document.predicted is None:
            return UNREADABLE_FILES
        if is_unknown(vars(document)):
            return UNKNOWN_FILES
        return (
            f"{REVIEW}/{self._folders[document.predicted]}"
            if document.needs_review
            else self._folders[document.decision]
        )

    def _free_place(self, folder: str, name: PurePath, key: str) -> str:
        """The first name in a folder that is free, or that has this content already."""
        for number in itertools.count(1):
            numbered = name if number == 1 else name.with_name(f"{name.stem}-{number}{name.suffix}")
            place = self._options.output / folder / numbered
            if not place.exists() or (place.is_file() and sha256_of(place) == key):
                return str(PurePath(folder) / numbered)
        raise AssertionError

    def _put(self, event: Mapping[str, Any], content: bytes) -> None:
        """Write the copy, whole or not at all.

        Raises:
            ResourceError: The disk is full, or the folder cannot be written to.
        """
        place = self._options.output / event["destination"]
        temp = self._options.output / STATE / f"{TEMP_PREFIX}{secrets.token_hex(8)}"
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with temp.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            place_copy(temp, place)
        except OSError as error:
            raise ResourceError(f"{place} cannot be written: {error.strerror or error}", "see --out") from error
        finally:
            temp.unlink(missing_ok=True)

    def _note_done(self, event: Mapping[str, Any]) -> None:
        self._journal.append({"event": DONE, "id": event["id"]})
        self._done[event["id"]] = event
        copies = copies_of(event)
        if "parts" in event:
            self._staged.clear(event["id"])
            self._placed -= {part["id"] for part in copies}
        self._tally.add(copies, is_packet="parts" in event)
        self._teller.add(copies)

    def _recover(self) -> None:
        """Finish what an earlier process began."""
        planned: dict[str, Mapping[str, Any]] = {}
        told = set[str]()
        for event in self._journal.events:
            key = event["id"]
            if event["event"] == PLANNED:
                planned[key] = event
            elif event["event"] == PLACED:
                self._placed.add(key)
            elif event["event"] == DONE:
                self._done[key] = planned[key]
                self._placed -= {copy["id"] for copy in copies_of(planned[key])}
            else:
                told.add(key)
        for key, event in planned.items():
            if key in self._done:
                continue
            if "parts" in event:
                self._place_again(event)
            elif self._is_complete(event):
                self._note_done(event)
        self._staged.clear_others(planned.keys() - self._done.keys())
        self._teller.add(copy for event in self._done.values() for copy in copies_of(event) if copy["id"] not in told)

    def _is_complete(self, event: Mapping[str, Any]) -> bool:
        """Whether all copies that were planned for a file are there."""
        return all(copy["id"] in self._placed or self._has(copy) for copy in copies_of(event))

    def _place_again(self, event: Mapping[str, Any]) -> None:
        """Finish a packet of which an earlier process had placed some parts; otherwise it is split again."""
        try:
            self._place_parts(event)
        except ResourceError as error:
            logger.warning("%s: %s", event["source"], error.message)
        if self._is_complete(event):
            self._note_done(event)

    def _result(self) -> WatchResult:
        tally = self._tally
        return WatchResult(
            model=self._model.path,
            handled=tally.handled,
            classes=dict(tally.classes),
            needs_review=tally.needs_review,
            unreadable=tally.unreadable,
            unknown=tally.unknown,
            duplicates=tally.duplicates,
            packets=tally.packets,
            parts=tally.parts,
            output=self._options.output,
            left_out=dict(self._left_out.counts),
            untold=self._teller.untold,
        )


def _mark_of(path: Path) -> _Mark | None:
    """Size and time of a file; None where there is none (any more)."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return _Mark(facts.st_size, facts.st_mtime_ns)
