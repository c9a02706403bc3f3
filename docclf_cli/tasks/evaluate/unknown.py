"""How well pages of no known class are told: on classes that are left out, and on foreign pages that the user has."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.index.file_list import FileList, listed_pages
from docclf_cli.data.index.inputs import find
from docclf_cli.data.loading.pages import FilePages
from docclf_cli.data.loading.texts import texts_of
from docclf_cli.engine.checkpoints.run_folder import write_csv
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.events import Emit
from docclf_cli.metrics.clusters import share_of
from docclf_cli.metrics.intervals import clusters_of
from docclf_cli.metrics.novelty import HeldOutNovelty, auroc
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.metrics import Estimate
from docclf_cli.results.unknown import ForeignReport, LeftOutClass, UnknownReport
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.unknown import UnknownRule
from docclf_cli.text import Message

CONFIDENT = 0.95
TABLE = "unknown_pages.csv"
FLATTERED = Message.of(
    "The features were trained on the classes that are left out, so these shares are too high for classes that training "
    "never saw: measure with pages of such classes (--unknown DIR)."
)


def left_out_report(member: TrainedModel, rule: UnknownRule) -> UnknownReport:
    """What held-out pages show about telling unknown pages: of a folds run, those of all folds together."""
    if not rule.active:
        return UnknownReport(rule.max_lost, None, None, None, (), notes=(rule.reason,))
    known, foreign, targets, units, degraded = _held_out(member, rule)
    names = member.info.class_names
    rows = tuple(
        LeftOutClass(names[target], len(set(units[own].tolist())), _share(foreign[own] > 0, units[own]))
        for target in np.unique(targets).tolist()
        if (own := targets == target) is not None
    )
    return UnknownReport(
        max_lost=rule.max_lost,
        probability=rule.probability(rule.threshold),
        lost=_share(known > 0, units),
        lost_degraded=_share(known[degraded] > 0, units[degraded]) if degraded.any() else None,
        auroc=auroc(known, foreign),
        classes=rows,
        notes=(FLATTERED,),
    )


def _held_out(member: TrainedModel, rule: UnknownRule) -> tuple[np.ndarray, ...]:
    """Log-odds above the threshold of known and of left-out pages, classes, units, and degraded copies, over all checkpoints."""
    columns: list[tuple[Any, ...]] = []
    for info in member.checkpoints:
        assert info.novelty is not None
        found, own = info.novelty, info.novelty.threshold(rule.max_lost)
        known, left_out = np.array(found.log_odds) - own, np.array(found.left_out_log_odds) - own
        columns.append((known, left_out, found.targets, found.units, found.degraded))
    return tuple(np.concatenate(column) for column in zip(*columns, strict=True))


def _share(hits: np.ndarray, units: np.ndarray) -> Estimate:
    return share_of(hits, clusters_of(units))


def foreign_report(
    member: TrainedModel,
    rule: UnknownRule,
    source: str,
    folder: Path,
    runtime_config: RuntimeConfig,
    emit: Emit,
    stop: StopFlag,
) -> tuple[ForeignReport, Path]:
    """Score pages that belong to no class, and compare them with the held-out pages of the model.

    Args:
        member: The model.
        rule: Which pages are called unknown.
        source: Folder, file or glob of the foreign pages.
        folder: Where their table goes.
        runtime_config: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: There is no page, or the model cannot tell unknown pages.
        Interrupted: `stop` was set.
    """
    if not rule.active:
        raise InputError(
            f"--unknown: {rule.reason}",
            "raise --max-lost, or train a model again, with more pages and three classes or more",
        )
    rows = _scored(member, source, runtime_config, emit, stop)
    read = [row for row in rows if not row["status"]]
    if not read:
        raise InputError(f"--unknown {source}: none of its {len(rows)} pages can be read")
    confidence = np.array([row["confidence"] for row in read])
    log_odds = np.array([row["log_odds"] for row in read])
    held_out = [info.novelty for info in member.checkpoints if info.novelty is not None]
    known = np.concatenate([_clean(one, one.log_odds) - one.threshold(rule.max_lost) for one in held_out])
    known_confidence = np.concatenate([_clean(one, one.confidence) for one in held_out])
    units = np.concatenate([_clean(one, one.units) for one in held_out])
    unknown, known_unknown = log_odds > rule.threshold, known > 0
    files = np.unique([row["path"] for row in read], return_inverse=True)[1]
    table = [_row(row, rule, member.info.class_names) for row in rows]
    write_csv(folder / TABLE, table)
    report = ForeignReport(
        source=source,
        pages=len(read),
        unreadable=len(rows) - len(read),
        known_pages=len(known),
        auroc=auroc(known, log_odds - rule.threshold),
        auroc_confidence=auroc(-known_confidence, -confidence),
        caught=_share(unknown, files),
        confident_before=_share(confidence >= CONFIDENT, files),
        confident=_share((confidence >= CONFIDENT) & ~unknown, files),
        known_lost=_share(known_unknown, units),
        known_confident_before=_share(known_confidence >= CONFIDENT, units),
        known_confident=_share((known_confidence >= CONFIDENT) & ~known_unknown, units),
    )
    return report, folder / TABLE


def _clean(held_out: HeldOutNovelty, values: tuple[Any, ...]) -> np.ndarray:
    return np.array(values)[~np.array(held_out.degraded)]


def _row(row: Mapping[str, Any], rule: UnknownRule, names: tuple[str, ...]) -> dict[str, Any]:
    if row["status"]:
        return {"path": row["path"], "page": row["page"], "class": "", "confidence": "", "unknown": "", "decision": "unreadable", "status": row["status"]}  # fmt: skip
    name = names[row["predicted"]]
    return {
        "path": row["path"],
        "page": row["page"],
        "class": name,
        "confidence": f"{row['confidence']:.6f}",
        "unknown": f"{rule.probability(row['log_odds']):.6f}",
        "decision": "unknown" if row["log_odds"] > rule.threshold else name,
        "status": "",
    }


def _scored(
    member: TrainedModel, source: str, runtime_config: RuntimeConfig, emit: Emit, stop: StopFlag
) -> list[dict[str, Any]]:
    """One row a page: path, page, status, and of those that can be read predicted class, confidence and log-odds."""
    from docclf_cli.data.loading.data_loader import data_loader
    from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput, cut
    from docclf_cli.engine.inference.ensemble_predictor import build_ensemble_predictor
    from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
    from docclf_cli.engine.inference.predictor import IMAGES_PER_PASS
    from docclf_cli.engine.inference.run_inference import run_inference

    data = member.info.data
    files = FileList(find([source], io.BytesIO(), data.allow_symlinks))
    reader = PageReader(data.max_pixels, data.allow_symlinks)
    pages = listed_pages(files, reader, data.pages)
    predictor = build_ensemble_predictor(EnsembleSpec(str(member.path), (member,)), runtime_config, len(files))
    inputs = [ModelInput(FilePages(pages, reader, preprocess), views) for preprocess, views in predictor.inputs]
    source = predictor.text_source
    batches = data_loader(
        InferenceDataset(inputs, texts=texts_of(pages, reader, source) if source else None),
        cut(range(len(pages)), IMAGES_PER_PASS),
        workers=predictor.runtime.workers,
        on_wait=stop.check_while_waiting,
    )
    rows: list[dict[str, Any]] = []
    for number in range(len(pages)):
        row, page = pages.place(number)
        rows.append({"path": files[row].shown, "page": page + 1 + files.first_page(row), "status": ""})
    for batch, outputs in run_inference(
        [predictor.outputs], batches, total=len(pages), task="foreign pages", emit=emit, stop=stop
    ):
        for number, reason in batch.unreadable:
            rows[number]["status"] = reason
        for found in outputs:
            assert found.unknown is not None
            for number, log_probs, log_odds in zip(batch.rows, found.log_probs, found.unknown, strict=True):
                predicted = int(log_probs.argmax())
                rows[number] |= {
                    "predicted": predicted,
                    "confidence": float(np.exp(log_probs[predicted])),
                    "log_odds": float(log_odds),
                }
    reader.close()
    return rows
