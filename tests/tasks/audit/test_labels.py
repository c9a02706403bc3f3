"""When the predictions of a model are a reason to doubt labels, and when it is the model that is doubtful."""

from docclf_cli.tasks.audit.labels import _refusal


def test_a_refusal_names_the_figures() -> None:
    assert _refusal(0.115, 0.102, 0.2) == (
        "the model confirms 12% of the labels; by chance it would 10%, which is no clear difference (p = 0.2)"
    )
    assert "contradicts more labels than it confirms" in str(_refusal(0.35, 0.1, 0.001))
    assert _refusal(0.7, 0.1, 0.001) is None
