"""Packets that arrive in a watched folder: where they are cut, and their parts before these get their places."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from docclf_cli.data.text.page_text import TextMode
from docclf_cli.engine.inference.packet_model import require_packets
from docclf_cli.engine.inference.predictor import TORCH
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError, ResourceError
from docclf_cli.files import TEMP_PREFIX, sha256_of, sweep_temporary
from docclf_cli.results.serving import ServedPrediction
from docclf_cli.tasks.predict.page_predictions import REVIEW, PageScores
from docclf_cli.tasks.serve.decoding import DecodedPage, DecodePool, DecodeRequest, DecoderFailed
from docclf_cli.tasks.serve.served_model import ServedModel, of_all_pages
from docclf_cli.tasks.split_packets.decoded import PacketSplitter
from docclf_cli.tasks.split_packets.part_files import write_parts
from docclf_cli.tasks.split_packets.parts import PacketCollector, is_uncertain, parts_of
from docclf_cli.tasks.split_packets.pdf_parts import require_pdf_writer

PARTS = "parts"  # in the watcher's own folder: parts that have no place yet, by the SHA-256 of their packet
PAGES_AT_ONCE = 32

Pages = tuple[int, int]  # first and last page, counted from 1


@dataclass(frozen=True)
class StagedPart:
    """A document of a packet as a file that waits for its place.

    Attributes:
        pages: First and last page in the packet, counted from 1.
        answer: What is said of it, as of a file of its own.
        sha256: Of the file.
    """

    pages: Pages
    answer: ServedPrediction
    sha256: str


@dataclass(frozen=True)
class SplitFile:
    """What was found in a file.

    Attributes:
        whole: What is said of it as one document.
        parts: Its documents, where there are several and all cuts are sure; otherwise it stays as it is.
        uncertain: The pages before which it is uncertain whether a document begins.
        reason: Why it is left to a person; empty where it is not.
    """

    whole: ServedPrediction
    parts: tuple[StagedPart, ...] = ()
    uncertain: tuple[int, ...] = ()
    reason: str = ""

    def left_to_a_person(self, reason: str, uncertain: Sequence[int] = ()) -> SplitFile:
        """The same file, not split."""
        document = replace(self.whole.document, needs_review=True, status=reason, decision=REVIEW)
        return SplitFile(replace(self.whole, document=document), (), tuple(uncertain), reason)


class StagedParts:
    """The parts of packets that have no place yet, side by side in the watcher's own folder.

    Args:
        state: The watcher's own folder.
    """

    def __init__(self, state: Path) -> None:
        self.state = state

    def path(self, key: str, pages: Sequence[int], suffix: str) -> Path:
        """Where a part waits.

        Args:
            key: SHA-256 of its packet.
            pages: Its first and last page.
            suffix: Of its packet.
        """
        return self.state / PARTS / key / f"{pages[0]}-{pages[1]}{suffix}"

    def clear(self, key: str) -> None:
        """Remove what waits of a packet."""
        shutil.rmtree(self.state / PARTS / key, ignore_errors=True)

    def clear_others(self, keys: Collection[str]) -> None:
        """Remove what waits of all packets but these, and the temporary files of an earlier process."""
        for folder in (self.state / PARTS).glob("*"):
            if folder.name not in keys:
                self.clear(folder.name)
        sweep_temporary(self.state)


class PacketSorter:
    """Finds the documents in files, and writes them side by side before any gets its place.

    Args:
        staged: Where parts wait for their places.
        model: Says what class a document has.
        splitter: Says where documents begin.
        pool: Decodes files and writes parts in other processes.
    """

    def __init__(self, staged: StagedParts, model: ServedModel, splitter: PacketSplitter, pool: DecodePool) -> None:
        self._staged, self._model, self._splitter, self._pool = staged, model, splitter, pool

    def split(self, name: str, content: bytes, key: str) -> SplitFile:
        """Find the documents of a file.

        Args:
            name: Its path below the inbox.
            content: The file.
            key: SHA-256 of it.

        Raises:
            TooManyPages: It has more pages than allowed.
            ResourceError: The disk is full.
        """
        with self._spooled(content, PurePath(name).suffix) as file:
            packet, scores = self._look(name, file)
            found = packet.found()
            whole = SplitFile(self._model.answer(name, scores, 3))
            parts = list(parts_of(found, self._splitter.limits, self._splitter.model.class_names))
            gaps = [is_uncertain(gap, self._splitter.limits) for gap in found.gaps]
            uncertain = [place + 2 for place, unsure in enumerate(gaps) if unsure]
            if uncertain and whole.whole.document.predicted is not None:
                pages = ", ".join(map(str, uncertain))
                return whole.left_to_a_person(f"it is uncertain whether a document begins on page {pages}", uncertain)
            ranges = [(part.first_page or 1, part.last_page or 1) for part in parts]
            if len(ranges) == 1 or uncertain:
                return whole
            try:
                hashes = self._stage(file, key, ranges)
            except (InputError, DecoderFailed) as error:
                return whole.left_to_a_person(f"it cannot be split: {error}")
        staged = [
            StagedPart(pages, self._model.answer(str(part_name(name, pages)), scores[pages[0] - 1 : pages[1]], 3), sha256)
            for pages, sha256 in zip(ranges, hashes, strict=True)
        ]  # fmt: skip
        return replace(whole, parts=tuple(staged))

    def _look(self, name: str, file: Path) -> tuple[PacketCollector, list[PageScores]]:
        """Look at page after page: where documents begin, and what class each page speaks for."""
        splitter, model = self._splitter, self._model
        packet, scores = PacketCollector(name, splitter.model), list[PageScores]()
        preprocesses = (splitter.preprocess, *model.preprocesses)
        modes = {splitter.options.text, model.text_mode} - {"off"}
        mode: TextMode = "off" if not modes else "layer" if modes == {"layer"} else "auto"
        for pages in self._pool.stream(file, DecodeRequest(preprocesses, mode, sizes=True), PAGES_AT_ONCE):
            firsts = [packet.add(page) for page in splitter.look(pages)]
            own = [_for_model(page, first, model.text_mode) for page, first in zip(pages, firsts, strict=True)]
            readable, found = [page for page in own if page.images], list[PageScores]()
            for start in range(0, len(readable), model.most_pages):
                found += model.outputs(readable[start : start + model.most_pages])
            scores += of_all_pages(own, found)
        return packet, scores

    def _stage(self, file: Path, key: str, ranges: Sequence[Pages]) -> list[str]:
        """Write parts side by side, and return their SHA-256.

        Raises:
            InputError: Pages cannot be copied.
            DecoderFailed: Copying took too long, or made its process crash.
            ResourceError: The disk is full.
        """
        self._staged.clear(key)
        targets = [self._staged.path(key, pages, file.suffix) for pages in ranges]
        targets[0].parent.mkdir(parents=True, exist_ok=True)
        self._pool.run(write_parts, file, [(target, *pages) for target, pages in zip(targets, ranges, strict=True)])
        return [sha256_of(target) for target in targets]

    @contextmanager
    def _spooled(self, content: bytes, suffix: str) -> Iterator[Path]:
        """The content as a file, as long as the block lasts: the one in the inbox may change."""
        path = self._staged.state / f"{TEMP_PREFIX}{secrets.token_hex(8)}{suffix}"
        try:
            path.write_bytes(content)
            yield path
        except OSError as error:
            raise ResourceError(f"{path} cannot be written: {error.strerror or error}", "see --out") from error
        finally:
            path.unlink(missing_ok=True)


def part_name(name: str, pages: Sequence[int]) -> PurePath:
    """The path of a part that is made of a file: with its pages behind the file's name."""
    path = PurePath(name)
    return path.with_name(f"{path.stem}_p{pages[0]}-{pages[1]}{path.suffix}")


def _for_model(page: DecodedPage, first: bool, mode: TextMode) -> DecodedPage:
    """A page as the model of the classes sees it: the splitter's image comes first."""
    return replace(page, images=page.images[1:], text=page.text_by(mode), first=first)


def require_splitting(path: Path, backend: str) -> None:
    """Refuse what cannot split packets, before anything is loaded.

    Raises:
        InputError: Parts of PDFs cannot be written here, or the back end is not torch.
        CheckpointError: The model was not trained to split packets.
    """
    require_pdf_writer("--split-packets")
    if backend != TORCH:
        raise InputError(
            f"--split-packets looks at features, which --backend {backend} does not give", "leave out --backend"
        )
    require_packets(TrainedModel.load(path))
