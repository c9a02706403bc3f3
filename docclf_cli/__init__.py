"""docclf: train, measure, combine and ship classifiers of document images."""

import importlib
from typing import TYPE_CHECKING, Any

from docclf_cli.version import __version__ as __version__

if TYPE_CHECKING:
    from docclf_cli.api import load as load
    from docclf_cli.api import train as train
    from docclf_cli.engine.inference.predictor import (
        evaluate_single_class_performance as evaluate_single_class_performance,
    )

# Public functions are imported on first use, so that `import docclf_cli` stays light.
_PLACES = {
    "load": "docclf_cli.api",
    "train": "docclf_cli.api",
    "evaluate_single_class_performance": "docclf_cli.engine.inference.predictor",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'docclf_cli' has no attribute '{name}'")
