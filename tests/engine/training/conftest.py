import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """These networks are tiny: a second thread only waits for the first, for seconds where the cores are shared."""
    torch.set_num_threads(1)
