"""Which models may check labels, and which label issues they report."""

from docclf_cli.tasks.audit.labels import _skipped_reason


def test_a_refusal_names_the_figures() -> None:
    assert _skipped_reason(0.115, 0.102, 0.2) == (
        "the model agrees with 12% of the labels, and by chance it would agree with 10%, which is not significantly better than chance (p = 0.2)"
    )
    assert "most labels that a model doubts are right" in str(_skipped_reason(0.55, 0.1, 0.001))
    assert _skipped_reason(0.8, 0.1, 0.001) is None
