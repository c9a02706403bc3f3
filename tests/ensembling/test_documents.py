"""Predictions for documents, against values worked out by hand."""

import numpy as np
import pytest

from docclf_cli.ensembling.documents import document_predictions, has_documents
from docclf_cli.metrics.class_metrics import score
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.document_scores import score_documents

PAGES = {  # ID: probabilities, class
    "x/a.pdf#1": ((0.9, 0.1), 0),
    "b.tif#1": ((np.nan, np.nan), 0),
    "x/a.pdf#2": ((0.2, 0.8), 0),
    "b.tif#2": ((0.3, 0.7), 0),
    "c.png": ((0.4, 0.6), 1),
    "d.pdf#2": ((np.nan, np.nan), 1),
    "e.pdf#1": ((0.9, 0.1), 0),
    "e.pdf#2": ((0.9, 0.1), 1),
}


def predictions(names: list[str] | None = None) -> Predictions:
    names = list(PAGES) if names is None else names
    probs = np.array([PAGES[name][0] for name in names])
    return Predictions(
        ids=np.array(names),
        log_probs=np.log(probs).astype(np.float32),
        class_names=("letter", "form"),
        targets=np.array([PAGES[name][1] for name in names]),
        groups=np.array([name.partition("#")[0] for name in names]),
        status=np.array(["damaged" if np.isnan(row).any() else "" for row in probs]),
    )


def test_pages_are_pooled_by_their_log_probabilities() -> None:
    found = document_predictions(predictions())
    assert found.ids.tolist() == ["x/a.pdf", "b.tif", "c.png", "d.pdf", "e.pdf"]
    # sqrt(.9 * .2) : sqrt(.1 * .8) = 3 : 2
    np.testing.assert_allclose(found.probs()[:3], [[0.6, 0.4], [0.3, 0.7], [0.4, 0.6]], atol=1e-6)
    assert np.isnan(found.log_probs[3]).all()
    assert found.status is not None
    assert found.status.tolist() == ["", "", "", "damaged", ""]
    assert found.labels.tolist() == [0, 0, 1, 1, -1]
    assert found.groups is not None
    assert found.groups.tolist() == found.ids.tolist()


def test_scores_count_documents() -> None:
    """Three documents can be scored, and the pages of b.tif are taken for a form: two of three are right."""
    found = score_documents(predictions())
    assert found is not None
    assert (found.support, found.unreadable) == (3, 1)
    assert found.metrics["accuracy"].value == pytest.approx(2 / 3)
    # letter: 1 hit, 0 false, 1 missed: F1 2/3; form: 1 hit, 1 false, 0 missed: 2/3
    assert found.metrics["f1_macro"].value == pytest.approx(2 / 3)
    assert found.metrics["log_loss"].value == pytest.approx(-np.log([0.6, 0.3, 0.6]).mean(), abs=1e-6)
    # Wilson's interval of 2 of 3 independent units; the pages are in groups
    assert found.metrics["accuracy"].low == pytest.approx(0.2077, abs=1e-4)
    by_page = score(predictions())
    assert by_page.metrics["accuracy"].value == pytest.approx(3 / 6)


def test_where_every_file_has_one_page_there_is_nothing_to_say() -> None:
    one = predictions(["c.png"])
    assert not has_documents(one)
    assert score_documents(one) is None


def test_a_document_whose_pages_have_different_labels_is_not_scored() -> None:
    assert score_documents(predictions(["e.pdf#1", "e.pdf#2"])) is None
