"""What a run learns from text."""

import numpy as np
import pytest
from text_cases import SAID, words_of

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.engine.training.text import RunTexts, TextLearner
from docclf_cli.engine.training.text_fit import fit_text_model
from docclf_cli.ensembling.text_branch import TextBranch
from docclf_cli.models.text_features import TextPage
from docclf_cli.profile.load import load_profile
from docclf_cli.results.predictions import Predictions

KINDS = tuple(SAID)


def documents(each: int, seed: int = 0) -> tuple[list[TextPage], np.ndarray]:
    labels = np.repeat(np.arange(len(KINDS)), each)
    return [TextPage(words_of(KINDS[label], seed * 1000 + number)) for number, label in enumerate(labels)], labels


def fitted(pages: list[TextPage], labels: np.ndarray, num_classes: int = 3):
    alone = np.arange(len(pages))
    return fit_text_model(pages, labels, alone, alone, num_classes)


@pytest.fixture(scope="module")
def model():
    fit = fitted(*documents(12))
    assert fit is not None
    return fit.model


def test_new_documents_are_told_by_their_words(model) -> None:
    pages, labels = documents(8, seed=1)
    found = model.log_probs(pages)
    assert (found.argmax(axis=1) == labels).mean() > 0.9
    spoken = [word for word, _ in model.strongest(pages[0].text, 0, 10)]
    assert any("invoice" in word or "pay" in word for word in spoken)


def test_hostile_text_gives_numbers_and_no_certainty(model) -> None:
    honest = words_of("invoice", 2000)
    hostile = [
        "credit " * 1000,
        honest + "\n" + "credit note " * 1000,
        "\ud800 lone surrogate",
        "word" * 10**5,
        "\u200b" * 100,
        "계약서 請求書 فاتورة",
    ]
    found = model.log_probs([TextPage(text) for text in hostile])
    assert np.isfinite(found).all()
    # The head of the page still says what it is: stuffing words below it does not rule that out.
    assert found[1, 0] > np.log(0.01)


def test_the_same_pages_give_the_same_model() -> None:
    pages, labels = documents(6)
    first, second = fitted(pages, labels), fitted(pages, labels)
    assert first is not None
    assert second is not None
    assert first.choice == second.choice
    assert np.array_equal(first.model.weight, second.model.weight)


def test_classes_without_text_are_never_ruled_in() -> None:
    pages, labels = documents(6)
    fit = fitted(pages, labels, num_classes=4)
    assert fit is not None
    assert (fit.model.log_probs(pages).argmax(axis=1) < 3).all()
    one_class = fitted(pages[:6], labels[:6])
    assert one_class is None


def learner(pages: list[TextPage], labels: np.ndarray, train: int) -> TextLearner:
    ids = np.array([f"{number}.pdf" for number in range(len(pages))], dtype=object)
    index = DocumentIndex(None, ids, ids, labels, KINDS)  # type: ignore[arg-type]
    profile = load_profile("config").profile
    return TextLearner(profile, index, np.arange(train), RunTexts(tuple(pages), "layer"))


def image_says_nothing(learner: TextLearner, rows: slice) -> Predictions:
    index = learner.index
    logits = np.log(np.full((len(index.ids[rows]), 3), 1 / 3, np.float32))
    return Predictions(index.ids[rows].astype(np.str_), logits, KINDS, index.labels[rows])


def test_text_that_helps_is_used_and_text_that_does_not_is_left_off() -> None:
    pages, labels = documents(20)
    mixed = np.random.default_rng(0).permutation(len(pages))
    one = learner([pages[row] for row in mixed], labels[mixed], train=40)
    held_out = image_says_nothing(one, slice(40, None))
    branch = one.learn(held_out)
    assert branch is not None
    assert branch.use.gain_low > 0
    assert not branch.use.fitted  # twenty documents are too few to fit weights
    joined = one.joined(held_out, branch)
    assert (joined.predicted() == joined.labels).mean() > 0.9
    again = TextBranch.from_arrays(branch.to_arrays(), 3)
    assert again.use == branch.use
    assert np.array_equal(one.joined(held_out, again).log_probs, joined.log_probs)
    shuffled = learner([pages[row] for row in mixed], np.random.default_rng(1).permutation(labels), train=40)
    assert shuffled.learn(image_says_nothing(shuffled, slice(40, None))) is None
