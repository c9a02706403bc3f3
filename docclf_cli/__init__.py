"""docclf: train, measure, combine and ship classifiers of document images."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Public functions are loaded on first use, so that `import docclf_cli` stays light.
    if name == "evaluate_single_class_performance":
        from docclf_cli.engine.inference import evaluate_single_class_performance

        return evaluate_single_class_performance
    raise AttributeError(f"module 'docclf_cli' has no attribute '{name}'")
