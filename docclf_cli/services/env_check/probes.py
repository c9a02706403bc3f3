"""Questions to torch that are asked in a process of their own: `python -m docclf_cli.services.env_check.probes torch|model`.

The answer is one line of JSON on stdout.
"""

import json
import os
import sys
from typing import Any

from docclf_cli.errors import DocclfError


def ask_torch() -> dict[str, Any]:
    """Version and devices."""
    import torch

    cuda = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return {
        "torch": torch.__version__,
        "built_for": f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cuda": [(device.name, device.total_memory) for device in cuda],
        "mps": torch.backends.mps.is_available(),
    }


def ask_model(config_json: str) -> dict[str, Any]:
    """Build the model of a profile without weights, and look for its weights without fetching them.

    Args:
        config_json: The model section and `image_size`, as JSON.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub client is imported
    import torchvision  # noqa: F401  (its compiled part fails at import where it does not fit torch)

    from docclf_cli.errors import RemoteError
    from docclf_cli.models.factory import create_model, resolve_name
    from docclf_cli.models.sources import find_weights
    from docclf_cli.profile.schema import ModelConfig

    given = json.loads(config_json)
    config = ModelConfig.model_validate(given["model"])
    model = create_model(config, 17, weights=False, image_size=given["image_size"])
    parameters = sum(tensor.numel() for tensor in model.parameters())
    answer: dict[str, Any] = {"name": config.model_name, "parameters": parameters}
    try:
        answer["weights"] = find_weights(config, resolve_name(config.model_name)).origin
    except RemoteError as error:
        answer["missing"] = error.hint
    return answer


def main() -> None:
    """Answer the question on the command line."""
    try:
        answer = ask_torch() if sys.argv[1] == "torch" else ask_model(sys.stdin.read())
    except DocclfError as error:
        answer = {"error": error.message, "hint": error.hint}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
