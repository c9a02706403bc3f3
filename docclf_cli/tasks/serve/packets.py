"""`POST /split-packets`: the documents in an uploaded packet, as `docclf split-packets` finds them."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.exceptions import HTTPException

from docclf_cli.results.serving import ServedPackets
from docclf_cli.tasks.serve.decoding import DecodedPage
from docclf_cli.tasks.serve.served_model import SHOWN_DIGITS, ServedModel
from docclf_cli.tasks.serve.service import Service
from docclf_cli.tasks.split_packets.decoded import PacketSplitter
from docclf_cli.tasks.split_packets.parts import PacketCollector, cut_limits, is_uncertain, parts_of


def require_splitter(served: ServedModel) -> PacketSplitter:
    """What a model splits packets with.

    Raises:
        HTTPException: It cannot.
    """
    if served.splitter is None:
        raise HTTPException(
            409, f"model '{served.name}' splits no packets: serve a run of `docclf train FOLDER --packets`"
        )
    return served.splitter


async def split_upload(service: Service, served: ServedModel, name: str, content: bytes) -> ServedPackets:
    """Find the documents of an uploaded file; pages of other requests come in between.

    Args:
        service: What all requests share.
        served: The model.
        name: Of the file, as the request gave it.
        content: The file.

    Raises:
        HTTPException: The model splits no packets, or the file cannot be read or has too many pages.
    """
    splitter = require_splitter(served)
    text = splitter.options.text
    pages = await service.decoded(content, (splitter.preprocess,), text, sizes=True)
    packet = PacketCollector(name, splitter.model)

    def take(some: Sequence[DecodedPage]) -> None:
        for page in splitter.look(some):
            packet.add(page)

    for start in range(0, len(pages), served.most_pages):
        await service.batcher.run(take, pages[start : start + served.most_pages])
    found = packet.found()
    parts = tuple(parts_of(found, splitter.limits, splitter.model.class_names))
    for part in parts:
        if part.predicted is not None:
            service.metrics.documents.labels(served.name, part.predicted).inc()
        if part.review:
            service.metrics.uncertain.labels(served.name).inc()
    return ServedPackets(
        model=served.name,
        checkpoint=served.key[:SHOWN_DIGITS],
        pages=len(pages),
        unreadable=len(found.reasons),
        found=len(parts),
        review=sum(part.review for part in parts),
        uncertain_cuts=sum(is_uncertain(gap, splitter.limits) for gap in found.gaps),
        target_precision=splitter.options.target_precision,
        limits=cut_limits(splitter.limits),
        text_pages=sum(bool(page.text_by(text)) for page in pages),
        parts=parts,
    )
