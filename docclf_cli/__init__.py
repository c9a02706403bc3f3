"""docclf: train, measure, combine and ship classifiers of document images."""

from typing import Any

from docclf_cli.version import __version__ as __version__


def __getattr__(name: str) -> Any:
    # Public functions are loaded on first use, so that `import docclf_cli` stays light.
    if name == "evaluate_single_class_performance":
        from docclf_cli.engine.inference.predictor import evaluate_single_class_performance

        return evaluate_single_class_performance
    raise AttributeError(f"module 'docclf_cli' has no attribute '{name}'")
