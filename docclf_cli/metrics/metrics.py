"""The metrics: one entry of `METRICS` each; epoch rows, monitors, tables, JSON, plots and comparisons follow from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import logsumexp

from docclf_cli.errors import InputError
from docclf_cli.metrics.calibration import calibration_error, confidences
from docclf_cli.metrics.confusion import Counts, confusion, counts_of, f1_scores, ratio, recalls
from docclf_cli.registry import Registry
from docclf_cli.results.metrics import Estimate
from docclf_cli.results.predictions import Predictions
from docclf_cli.text import Message

# scikit-learn's log_loss limits probabilities in the same way: one hopeless page must not make the mean infinite.
MAX_LOSS = float(-np.log(np.finfo(np.float64).eps))
DEGRADED_SUFFIX = "_degraded"  # ends the column of a metric on the degraded pages of validation
LOSS = "val_loss"  # the column of the log loss, which is measured on degraded pages too
DEFAULT = "f1_macro"  # measured on degraded pages too, and compared by where the monitor cannot be
BLEND = "blend"  # mean of the default metric on clean and degraded pages
BLEND_LOSS = "blend_loss"  # likewise of the log loss
BLENDS = {BLEND: DEFAULT, BLEND_LOSS: "log_loss"}  # what each is the mean of


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that says how good predictions are.

    Attributes:
        label: Its name for people.
        higher_is_better: Its direction.
        lowest: Its smallest possible value.
        highest: Its largest possible value; infinite for a loss.
        in_points: Whether people read it in per cent, and differences in points, rather than as a plain number.
        headline: Whether it is shown where there is room for a few: curves, ensembles, comparisons, folds.
        column: What `metrics.csv` and `train.monitor` call it, where that is not its name.
        classes: The smallest and the largest number of classes that it is measured with.
    """

    label: str
    higher_is_better: bool = True
    lowest: float = 0.0
    highest: float = 1.0
    in_points: bool = True
    headline: bool = False
    column: str | None = None
    classes: tuple[float, float] = (1, math.inf)

    def __call__(self, scored: Predictions) -> float:
        """Its value.

        Args:
            scored: Predictions whose rows are all scored.
        """
        raise NotImplementedError


class ComparableMetric(Metric):
    """A metric whose value needs log-probabilities and labels alone, so that any two predictions can be compared by it."""

    def __call__(self, scored: Predictions) -> float:
        """See `Metric`."""
        return self.of(scored.log_probs, scored.labels)

    def of(self, log_probs: np.ndarray, targets: np.ndarray) -> float:
        """Its value: log_probs [n, num_classes], targets int64 [n]."""
        raise NotImplementedError


@dataclass(frozen=True)
class ConfusionMetric(ComparableMetric):
    """A metric of the confusion matrix; its interval is drawn from tables at plausible rates of confusion.

    Attributes:
        function: From counts along a last axis of classes, each with pages or predictions, to [...].
        of_recall: Whether it looks at pages recognised and pages of a class alone, not at those predicted as the class.
    """

    function: Callable[[Counts], np.ndarray]
    of_recall: bool = False

    def of(self, log_probs: np.ndarray, targets: np.ndarray) -> float:
        """See `ComparableMetric`."""
        counts = counts_of(confusion(targets, log_probs.argmax(axis=1), log_probs.shape[1]))
        return float(self.function(counts.take(counts.present)))


@dataclass(frozen=True)
class PageMetric(ComparableMetric):
    """The mean over pages of a value each; the interval is Wilson's where pages are right or wrong, else `mean_of`'s.

    Attributes:
        function: From log-probabilities [n, num_classes] and labels int64 [n] to bool or float64 [n].
    """

    function: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def of(self, log_probs: np.ndarray, targets: np.ndarray) -> float:
        """See `ComparableMetric`."""
        return float(self.function(log_probs, targets).mean())


@dataclass(frozen=True)
class EstimatedMetric(Metric):
    """A metric with an interval of its own, of which there are no paired differences.

    Attributes:
        function: From scored predictions, the level of the interval and a seed to the estimate.
    """

    function: Callable[[Predictions, float, int], Estimate]

    def __call__(self, scored: Predictions) -> float:
        """See `Metric`."""
        return self.function(scored, 0.95, 0).value


def is_right(log_probs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Whether the most probable class is the true one, bool [n]."""
    return log_probs.argmax(axis=1) == targets


def is_in_top(log_probs: np.ndarray, targets: np.ndarray, *, k: int) -> np.ndarray:
    """Whether the true class is among the k most probable, bool [n]; of equals the first class counts as higher."""
    own = np.take_along_axis(log_probs, targets[:, None], axis=1)
    ahead = log_probs > own
    ahead |= (log_probs == own) & (np.arange(log_probs.shape[1]) < targets[:, None])
    return ahead.sum(axis=1) < k


def cross_entropies(log_probs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Plain cross entropy of each page, whatever loss trained the model: float64 [n], at most `MAX_LOSS`."""
    logits = log_probs.astype(np.float64)
    truth = logits[np.arange(len(targets)), targets]
    return np.minimum(logsumexp(logits, axis=1) - truth, MAX_LOSS)


def balanced_accuracy(counts: Counts) -> np.ndarray:
    """Mean recall of the classes that have pages."""
    return np.nanmean(recalls(counts), axis=-1)


def f1_macro(counts: Counts) -> np.ndarray:
    """Mean F1 of the classes that have pages or predictions."""
    return np.nanmean(f1_scores(counts), axis=-1)


def f1_weighted(counts: Counts) -> np.ndarray:
    """Mean F1, each class weighted by its pages."""
    return ratio(np.nansum(f1_scores(counts) * counts.support, axis=-1), counts.support.sum(axis=-1))


def ece(scored: Predictions, level: float, seed: int) -> Estimate:
    """Expected calibration error, with its approximate interval."""
    return calibration_error(*confidences(scored), scored.groups, level=level, seed=seed)


METRICS: Registry[Metric] = Registry("metric")
METRICS.register("accuracy")(PageMetric(is_right, label="accuracy", headline=True))
METRICS.register("balanced_accuracy")(ConfusionMetric(balanced_accuracy, True, label="balanced accuracy"))
METRICS.register("f1_macro")(ConfusionMetric(f1_macro, label="macro-F1", headline=True))
METRICS.register("f1_weighted")(ConfusionMetric(f1_weighted, label="weighted F1"))
METRICS.register("log_loss")(
    PageMetric(
        cross_entropies,
        label="log loss",
        higher_is_better=False,
        highest=math.inf,
        in_points=False,
        headline=True,
        column=LOSS,
    )
)
# Among as many classes as there are, each page would be right: k is 3, or as many as leave one class out.
for _k, _classes in ((1, (1, 2)), (2, (3, 3)), (3, (4, math.inf))):
    METRICS.register(f"top{_k}_accuracy")(
        PageMetric(partial(is_in_top, k=_k), label=f"top-{_k} accuracy", classes=_classes)
    )
METRICS.register("ece")(
    EstimatedMetric(ece, label="calibration error (ECE, approximate)", higher_is_better=False, in_points=False)
)


def metrics_with(num_classes: int) -> dict[str, Metric]:
    """The metrics that are measured with so many classes, by name."""
    return {
        entry.name: entry.build for entry in METRICS if entry.build.classes[0] <= num_classes <= entry.build.classes[1]
    }


def headline_metrics() -> dict[str, Metric]:
    """The metrics that are shown where there is room for a few, by name."""
    return {entry.name: entry.build for entry in METRICS if entry.build.headline}


def comparable_metric(name: str) -> ComparableMetric:
    """A metric that any two predictions can be compared by.

    Raises:
        InputError: The metric is unknown, or not one of these.
    """
    metric = METRICS.get(name).build
    if not isinstance(metric, ComparableMetric):
        known = ", ".join(entry.name for entry in METRICS if isinstance(entry.build, ComparableMetric))
        raise InputError(f"no paired difference for '{name}'", f"known: {known}")
    return metric


def is_at_edge(name: str, estimate: Estimate) -> bool:
    """Whether a mean over classes lies within a tenth of its interval from a bound, other than its smallest or largest value.

    The prior of these intervals gives some hits and errors to classes that have none, which moves both bounds.
    """
    metric = METRICS.get(name).build if name in METRICS else None
    if not isinstance(metric, ConfusionMetric) or estimate.value in (metric.lowest, metric.highest):
        return False
    margin = (estimate.high - estimate.low) / 10
    return estimate.value - estimate.low < margin or estimate.high - estimate.value < margin


def by_column(values: Mapping[str, float]) -> dict[str, float]:
    """Values of metrics by their columns in `metrics.csv` in place of their names."""
    return {METRICS.get(name).build.column or name: value for name, value in values.items()}


def metric_of_column(column: str) -> str | None:
    """The name of the metric that a column of `metrics.csv`, and so `train.monitor`, is about.

    Returns:
        None for what is no metric, such as `epoch` and `lr`.
    """
    names = {entry.build.column: entry.name for entry in METRICS}
    plain = column.removesuffix(DEGRADED_SUFFIX)
    name = names.get(column) or names.get(plain) or plain
    name = {**BLENDS, "train_loss": "log_loss"}.get(column, name)
    return name if name in METRICS else None


def compared_metric(monitor: str) -> str | None:
    """The name of the metric that decides between models, members and views whose epochs are chosen by `monitor`.

    That of the monitor, and the default one for both blends: log loss chooses epochs better, people ask how many pages are right.

    Returns:
        None where the monitor is no metric that can be compared.
    """
    name = DEFAULT if monitor in BLENDS else metric_of_column(monitor)
    return name if name is not None and isinstance(METRICS.get(name).build, ComparableMetric) else None


def is_higher_better(column: str) -> bool:
    """The direction of a column of `metrics.csv`; that of what is no metric, such as `epoch`, is upwards."""
    name = metric_of_column(column)
    return name is None or METRICS.get(name).build.higher_is_better


def label_of(column: str) -> str:
    """What people read for a metric or a column of `metrics.csv`."""
    name = metric_of_column(column)
    if name is None:
        return column.replace("_", " ")
    label = Message.of(METRICS.get(name).build.label)
    of_training = {
        **dict.fromkeys(BLENDS, Message.of("mean of clean and degraded {metric}", metric=label)),
        "train_loss": Message.of("training loss"),
        LOSS: Message.of("validation loss"),
    }
    degraded = Message.of("{metric}, degraded pages", metric=label)
    return of_training.get(column, degraded if column.endswith(DEGRADED_SUFFIX) else label)


def curve_columns(columns: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of `metrics.csv` that are drawn over the epochs: those without an upper bound (losses), and others."""
    drawn = [column for column in columns if column not in BLENDS and metric_of_column(column) in headline_metrics()]
    losses = [column for column in drawn if math.isinf(METRICS.get(str(metric_of_column(column))).build.highest)]
    return tuple(losses), tuple(column for column in drawn if column not in losses)
