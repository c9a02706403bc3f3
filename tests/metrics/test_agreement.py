from dataclasses import replace

import numpy as np
import pytest
from prediction_cases import at_random, naming

from docclf_cli.metrics.agreement import disagreement, error_correlation

TARGETS = [0, 0, 1, 1]
MEMBERS = (
    naming(TARGETS, [0, 0, 1, 0], classes=2),  # wrong on the last page
    naming(TARGETS, [0, 1, 1, 0], classes=2),  # on that and another
    naming(TARGETS, [0, 0, 1, 1], classes=2),  # on none
)


def test_disagreement_by_hand() -> None:
    expected = [[0, 0.25, 0.25], [0.25, 0, 0.5], [0.25, 0.5, 0]]
    assert disagreement(MEMBERS).tolist() == expected
    assert disagreement([replace(member, targets=None) for member in MEMBERS]).tolist() == expected


def test_error_correlation_by_hand() -> None:
    found = error_correlation(MEMBERS)
    # phi of (0,0,0,1) and (0,1,0,1): (1·2 - 1·0) / sqrt(1·3·2·2)
    assert found[0, 1] == pytest.approx(2 / np.sqrt(12))
    assert found[0, 0] == pytest.approx(1.0)
    assert np.isnan(found[2]).all()


def test_error_correlation_is_that_of_numpy() -> None:
    members = [at_random(seed, 200, 4) for seed in range(3)]
    wrong = [member.predicted() != member.targets for member in members]
    np.testing.assert_allclose(error_correlation(members), np.corrcoef(np.array(wrong, dtype=float)), atol=1e-12)
