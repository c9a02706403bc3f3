"""How often intervals and tests hold where pages come in groups: by simulation, where the truth is known.

    python benchmarks/clustered_coverage.py                  # the tables of the documentation
    python benchmarks/clustered_coverage.py --repeats 50 metrics differences

Pages of a group share their fate by a Gaussian copula: with correlation 0 they are independent, with 1 a group is
one page many times over. Each cell says "before / after": pages taken as independent, and groups taken notice of.
With 400 repeats the Monte-Carlo error of .95 is .011. 95 % are promised, and at most 5 % for tests and thresholds.
"""

import argparse
from dataclasses import replace

import numpy as np
from scipy.special import expit, ndtr, ndtri

from docclf_cli.metrics.calibration import BINS, calibration_error
from docclf_cli.metrics.class_metrics import score
from docclf_cli.metrics.compare import mcnemar, paired_difference
from docclf_cli.metrics.confusion import counts_of, f1_scores, precisions
from docclf_cli.metrics.intervals import mean_of
from docclf_cli.metrics.metrics import balanced_accuracy, f1_macro, f1_weighted
from docclf_cli.results.metrics import Estimate
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.evaluate.confidence_threshold import threshold_on

CORRELATIONS = (0.0, 0.4, 1.0)
POOLED = {
    "accuracy": lambda counts: counts.hits.sum() / counts.support.sum(),
    "balanced_accuracy": balanced_accuracy,
    "f1_macro": f1_macro,
    "f1_weighted": f1_weighted,
}


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth + 1e-12 and truth <= estimate.high + 1e-12


def shared(unit: np.ndarray, correlation: float, rng: np.random.Generator) -> np.ndarray:
    """Uniform numbers [n] that pages of a group have in common as far as their correlation goes."""
    own, common = rng.standard_normal(len(unit)), rng.standard_normal(int(unit.max()) + 1)[unit]
    return ndtr(np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own)


def units(groups: int, size: int, uneven: bool, rng: np.random.Generator) -> np.ndarray:
    """Which group each page belongs to; uneven groups have from one page to twice the size."""
    sizes = rng.integers(1, 2 * size, groups) if uneven else np.full(groups, size)
    return np.repeat(np.arange(groups), sizes)


def rates(classes: int, recall: float, rng: np.random.Generator) -> np.ndarray:
    """True rates of confusion, [classes, classes]: most mistakes of a class go to a few others."""
    table = np.zeros((classes, classes))
    for row in range(classes):
        table[row, np.arange(classes) != row] = (1 - recall) * rng.dirichlet(np.full(classes - 1, 0.4))
    np.fill_diagonal(table, recall)
    return table


def naming(targets: np.ndarray, named: np.ndarray, classes: int, unit: np.ndarray) -> Predictions:
    log_probs = np.log(np.full((classes, classes), 0.1 / (classes - 1)) + np.eye(classes) * 0.85).astype(np.float32)
    names, ids = tuple(f"class {index}" for index in range(classes)), np.arange(len(unit)).astype(str)
    return Predictions(ids, log_probs[named], names, targets, unit.astype(str))


def classified(
    unit: np.ndarray, table: np.ndarray, correlation: float, together: bool, rng: np.random.Generator
) -> Predictions:
    """Pages of documents of one class (`together`) or of mixed classes, named as the true rates say."""
    classes = len(table)
    targets = (unit if together else np.arange(len(unit))) % classes
    right = shared(unit, correlation, rng) < np.diagonal(table)[targets]
    wrong = table * (1 - np.eye(classes)) + 1e-12 * (1 - np.eye(classes))
    steps = np.cumsum(wrong / wrong.sum(axis=1, keepdims=True), axis=1)[targets]
    mistaken = (shared(unit, correlation, rng)[:, None] > steps).sum(axis=1).clip(max=classes - 1)
    return naming(targets, np.where(right, targets, mistaken), classes, unit)


def metrics_table(repeats: int) -> None:
    names = ("accuracy", "balanced", "macro-F1", "weighted F1", "recall", "precision", "F1")
    print(f"\nCoverage of intervals, {repeats} repeats; one: a group is of one class")
    print("groups  size  classes  accuracy  correlation  " + "  ".join(f"{name:>12}" for name in names))
    cases = [
        (10, 10, 3, True), (10, 20, 3, False), (30, 10, 9, True), (30, 10, 9, False), (100, 2, 20, False),
        (100, 5, 9, True),
    ]  # fmt: skip
    for groups, size, classes, together in cases:
        for recall in (0.6, 0.9, 0.98):
            for correlation in CORRELATIONS:
                rng = np.random.default_rng((groups, size, classes, int(recall * 100), int(correlation * 10)))
                cells = [covered(groups, size, classes, together, recall, correlation, rng) for _ in range(repeats)]
                before, after = np.nanmean(cells, axis=0)
                row = "  ".join(f"{b:5.2f} / {a:.2f}" for b, a in zip(before, after, strict=True))
                kind = "one" if together else "mix"
                print(
                    f"{groups:6d}  {size:4d}  {classes:3d} {kind}  {recall:8.2f}  {correlation:11.1f}  {row}",
                    flush=True,
                )


def covered(
    groups: int, size: int, classes: int, together: bool, recall: float, correlation: float, rng: np.random.Generator
) -> np.ndarray:
    """Which intervals hold the truth, [before and after, metrics]; per-class metrics as a share of the classes."""
    unit, table = units(groups, size, groups == 30, rng), rates(classes, recall, rng)
    predictions = classified(unit, table, correlation, together, rng)
    support = np.bincount(predictions.labels, minlength=classes)
    truth = counts_of(table * support[:, None])
    found = []
    for one in (replace(predictions, groups=None), predictions):
        scores = score(one)
        pooled = [holds(scores.metrics[name], float(function(truth))) for name, function in POOLED.items()]
        by_class = [
            ([row.accuracy for row in scores.classes], np.full(classes, recall)),
            ([row.precision for row in scores.classes], precisions(truth)),
            ([row.f1 for row in scores.classes], f1_scores(truth)),
        ]
        shares = [
            np.mean([holds(own, true) for own, true in zip(row, truths, strict=True) if not np.isnan(own.low)])
            for row, truths in by_class
        ]
        found.append([*pooled, *shares])
    return np.array(found)


def calibration_table(repeats: int) -> None:
    print(f"\nCoverage of the calibration error and of log loss, {repeats} repeats (logits too large by the scale)")
    print("groups  size  scale  correlation    truth  mean estimate  calibration error      log loss")
    for scale in (1.0, 1.5):
        truth, loss = calibration_truth(scale)
        for groups, size in ((10, 20), (30, 10), (100, 2), (100, 10)):
            for correlation in CORRELATIONS:
                rng = np.random.default_rng((groups, size, int(10 * scale), int(10 * correlation)))
                rows, values = [], []
                for _ in range(repeats):
                    unit = units(groups, size, False, rng)
                    confidence, right, _ = judged(unit, scale, correlation, rng)
                    names = unit.astype(str)
                    plain, clustered = (calibration_error(confidence, right, one) for one in (None, names))
                    losses = -np.log(np.where(right, confidence, 1 - confidence))
                    means = [mean_of(losses, one) for one in (None, names)]
                    rows.append([holds(one, truth) for one in (plain, clustered)] + [holds(one, loss) for one in means])
                    values.append([plain.value, clustered.value])
                share, mean = np.mean(rows, axis=0), np.mean(values, axis=0)
                print(
                    f"{groups:6d}  {size:4d}  {scale:5.1f}  {correlation:11.1f}  {truth:7.4f}  "
                    f"{mean[0]:.3f} / {mean[1]:.3f}  {share[0]:9.2f} / {share[1]:.2f}  {share[2]:9.2f} / {share[3]:.2f}",
                    flush=True,
                )


def judged(
    unit: np.ndarray, scale: float, correlation: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence, correctness and true chance to be right of pages whose logits are `scale` times too large."""
    own, common = rng.standard_normal(len(unit)), rng.standard_normal(int(unit.max()) + 1)[unit]
    odds = 2.5 + 1.5 * (np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own)
    return expit(odds * scale), shared(unit, correlation, rng) < expit(odds), expit(odds)


def calibration_truth(scale: float) -> tuple[float, float]:
    """The mean gap of fifteen bins, and the mean loss, of 400,000 independent pages."""
    confidence, _, chance = judged(np.arange(400_000), scale, 0.0, np.random.default_rng(0))
    gaps = (confidence - chance)[np.argsort(confidence)]
    loss = -(chance * np.log(confidence) + (1 - chance) * np.log1p(-confidence)).mean()
    return float(np.mean([abs(part.mean()) for part in np.array_split(gaps, BINS)])), float(loss)


def page_losses(kind: str, unit: np.ndarray, correlation: float, rng: np.random.Generator) -> np.ndarray:
    """Log loss of each page: calibrated, over-confident, with rare and bad mistakes, or without a usual size."""
    if kind in ("calibrated", "over-confident"):
        confidence, right, _ = judged(unit, 1.0 if kind == "calibrated" else 1.5, correlation, rng)
        return -np.log(np.where(right, confidence, 1 - confidence))
    luck, size = shared(unit, correlation, rng), shared(unit, correlation, rng).clip(1e-12, 1 - 1e-12)
    if kind == "3 % mistakes":
        return np.where(luck < 0.03, np.log(2) - 2 * np.log(size), -0.02 * np.log(size))
    return np.exp(1.5 * ndtri(size) - 1.5)


def loss_table(repeats: int) -> None:
    print(f"\nCoverage of log loss where it is skewed, {repeats} repeats; the truth of 4,000,000 independent pages")
    print("losses           groups  size        correlation    truth       coverage  median width / truth (after)")
    shapes = [
        (30, 1), (100, 1), (300, 1), (1000, 1), (6, 20), (10, 20), (30, 10), (100, 2), (100, 10),
    ]  # fmt: skip
    for kind in ("calibrated", "over-confident", "3 % mistakes", "lognormal"):
        truth = page_losses(kind, np.arange(4_000_000), 0.0, np.random.default_rng(0)).mean()
        for groups, size in shapes:
            for uneven in (False, True) if groups == 30 and size > 1 else (False,):
                for correlation in CORRELATIONS if size > 1 else (0.0,):
                    rng = np.random.default_rng((groups, size, int(10 * correlation), uneven))
                    held, widths = np.zeros(2), []
                    for _ in range(repeats):
                        unit = units(groups, size, uneven, rng)
                        losses = page_losses(kind, unit, correlation, rng)
                        plain, clustered = (mean_of(losses, one, lowest=0.0) for one in (None, unit.astype(str)))
                        held += holds(plain, truth), holds(clustered, truth)
                        widths.append(clustered.high - clustered.low)
                    before, after = held / repeats
                    print(
                        f"{kind:15s}  {groups:6d}  {size:4d} {'uneven' if uneven else '':6s} {correlation:11.1f}  "
                        f"{truth:7.4f}  {before:6.3f} / {after:.3f}  {np.median(widths) / truth:10.2f}",
                        flush=True,
                    )


def differences_table(repeats: int) -> None:
    print(f"\nTwo equally good models: how often one is called better (5 % at most), {repeats} repeats")
    print("groups  size  alone right  correlation       accuracy       macro-F1       log loss   McNemar p < .05")
    for groups, size in ((10, 20), (30, 10), (100, 2), (100, 10)):
        for alone in (0.02, 0.1):
            for correlation in CORRELATIONS:
                rng = np.random.default_rng((groups, size, int(100 * alone), int(10 * correlation)))
                called = np.zeros((2, 4))
                for repeat in range(repeats):
                    pair = two_models(units(groups, size, False, rng), alone, correlation, rng)
                    for place, (a, b) in enumerate((tuple(replace(one, groups=None) for one in pair), pair)):
                        for column, metric in enumerate(("accuracy", "f1_macro", "log_loss")):
                            found = paired_difference(a, b, metric, seed=repeat)
                            called[place, column] += found.low > 0 or found.high < 0
                        called[place, 3] += mcnemar(a, b) < 0.05
                row = "  ".join(f"{b:5.3f} / {a:.3f}" for b, a in (called / repeats).T)
                print(f"{groups:6d}  {size:4d}  {alone:11.2f}  {correlation:11.1f}  {row}", flush=True)


def two_models(
    unit: np.ndarray, alone: float, correlation: float, rng: np.random.Generator
) -> tuple[Predictions, Predictions]:
    """Two models of 9 classes that are right alone on a share of the pages each; 3 % both get wrong."""
    classes, kind = 9, np.searchsorted(np.cumsum([alone, alone, 0.03]), shared(unit, correlation, rng))
    targets = np.arange(len(unit)) % classes
    mistaken = [(targets + 1 + (shared(unit, correlation, rng) * (classes - 1)).astype(int)) % classes for _ in "ab"]
    named_a = np.where((kind == 0) | (kind == 3), targets, mistaken[0])
    named_b = np.where((kind == 1) | (kind == 3), targets, mistaken[1])
    return naming(targets, named_a, classes, unit), naming(targets, named_b, classes, unit)


def thresholds_table(repeats: int) -> None:
    print(
        f"\nThresholds from clean and degraded copies: how often the one named is too low (5 % at most), {repeats} repeats"
    )
    print("groups  size  target  precision of the pages   correlation  copies    too low  decided (after)")
    for groups, size in ((300, 1), (100, 5), (60, 20)):
        for target in (0.9, 0.99):
            for name in ("everywhere just too low", "falls early"):
                for correlation, copies in ((0.0, 0.0), (0.4, 0.6), (1.0, 1.0)):
                    rng = np.random.default_rng((groups, size, int(100 * target), int(10 * copies)))
                    shares = [selection(groups, size, target, name, correlation, copies, rng) for _ in range(repeats)]
                    before, after, decided = np.mean(shares, axis=0)
                    print(
                        f"{groups:6d}  {size:4d}  {target:6.2f}  {name:23s}  {correlation:11.1f}  {copies:6.1f}  "
                        f"{before:.3f} / {after:.3f}  {decided:7.3f}",
                        flush=True,
                    )


def selection(
    groups: int, size: int, target: float, name: str, correlation: float, copies: float, rng: np.random.Generator
) -> tuple[bool, bool, float]:
    """Whether the threshold is too low before and after, and the share of pages decided after.

    Copies of a page share chance and confidence as far as `copies` goes; pages of a group as far as `correlation`.
    """
    pages = np.repeat(np.arange(groups), size)
    group_rank, group_luck = rng.standard_normal((2, groups))[:, pages]
    page_rank, page_luck = rng.standard_normal((2, len(pages)))

    def copy() -> Predictions:
        rank = mixed(group_rank, page_rank, correlation, copies, rng)
        luck = mixed(group_luck, page_luck, correlation, copies, rng)
        confidence = 0.6 + 0.399 * rank
        right = luck < precision_at(1 - rank, target, name)
        probs = np.stack([confidence, 1 - confidence], axis=1)
        ids = np.arange(len(pages)).astype(str)
        return Predictions(ids, np.log(probs).astype(np.float32), ("a", "b"), np.where(right, 0, 1), pages.astype(str))

    clean, degraded = copy(), copy()
    both = [
        replace(one, groups=None, ids=np.char.add(prefix, one.ids)) for one, prefix in ((clean, "c"), (degraded, "d"))
    ]
    joined = replace(both[0], **{
        key: np.concatenate([getattr(one, key) for one in both]) for key in ("ids", "log_probs", "targets")
    })  # fmt: skip
    plain, clustered = threshold_on(joined, None, target, 1.0), threshold_on(clean, degraded, target, 1.0)
    return too_low(plain.value, target, name), too_low(clustered.value, target, name), clustered.coverage.value


def mixed(
    group: np.ndarray, page: np.ndarray, correlation: float, copies: float, rng: np.random.Generator
) -> np.ndarray:
    """Uniform numbers: of their variance `copies` belongs to the page, and of that `correlation` to its group."""
    own = rng.standard_normal(len(page))
    page = np.sqrt(correlation) * group + np.sqrt(1 - correlation) * page
    return ndtr(np.sqrt(copies) * page + np.sqrt(1 - copies) * own)


def precision_at(place: np.ndarray, target: float, name: str) -> np.ndarray:
    """The true chance to be right at a place of the ranking, 0 for the most confident page, 1 for the least."""
    if name == "everywhere just too low":
        return np.full(len(place), target - 1e-4)
    # The mean of the first share x of the pages is .998 - (.998 - target) (x / .6)²: the target is left at x = .6.
    return 0.998 - (0.998 - target) * 3 * (place / 0.6) ** 2


def too_low(value: float | None, target: float, name: str) -> bool:
    if value is None:
        return False
    place = np.linspace(0, 1 - (value - 0.6) / 0.399, 2001)
    return bool(precision_at(place, target, name).mean() < target - 1e-6)


TABLES = {
    "metrics": metrics_table,
    "calibration": calibration_table,
    "loss": loss_table,
    "differences": differences_table,
    "thresholds": thresholds_table,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "tables", nargs="*", choices=[[], *TABLES], help="which tables; all of them where none is named"
    )
    parser.add_argument("--repeats", type=int, default=400)
    asked = parser.parse_args()
    for name in asked.tables or TABLES:
        TABLES[name](asked.repeats)


if __name__ == "__main__":
    main()
