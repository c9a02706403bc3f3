"""Names and endpoints, checked before any network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.errors import InputError
from docclf_cli.profile.schema import S3Config
from docclf_cli.services.storage.s3 import Target, connect, require_bucket, require_key, require_name, resolve_target

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.mark.parametrize("name", ["abc", "my-bucket.2026", "a" * 63])
def test_bucket_names(name: str) -> None:
    assert require_bucket(name) == name


@pytest.mark.parametrize(
    "name", ["ab", "a" * 64, "Bucket", "-abc", "abc-", "a..b", "192.168.0.1", "s3://abc", "a_b", "abc/d", "가나다", ""]
)
def test_what_is_no_bucket_name(name: str) -> None:
    with pytest.raises(InputError, match="not a bucket name"):
        require_bucket(name)


@given(st.text(min_size=1, max_size=40))
def test_a_key_that_passes_stays_below_its_folder(text: str) -> None:
    try:
        key = require_key(text, "key")
    except InputError:
        return
    parts = key.split("/")
    assert not {"", ".", ".."} & set(parts)
    assert "\\" not in key and key.isprintable()


def test_a_key_is_measured_in_bytes() -> None:
    assert require_key("가" * 341, "key")
    with pytest.raises(InputError):
        require_key("가" * 342, "key")


def test_hangul_names_are_names() -> None:
    assert require_name("영수증-resnet50") == "영수증-resnet50"


def test_the_bucket_comes_from_the_profile_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no bucket is configured"):
        resolve_target(S3Config())
    monkeypatch.setenv("S3_BUCKET_NAME", "your-s3-bucket-name")
    with pytest.raises(InputError, match="no bucket is configured"):
        resolve_target(S3Config())
    monkeypatch.setenv("S3_BUCKET_NAME", "of-env")
    assert resolve_target(S3Config()).bucket == "of-env"
    assert resolve_target(S3Config(bucket="of-profile", prefix="/a/b/")).object_key("00") == "a/b/objects/sha256-00"


@pytest.mark.parametrize(
    ("endpoint", "allowed"),
    [
        ("https://s3.example.com", True),
        ("http://127.0.0.1:9000", True),
        ("http://localhost:9000", True),
        ("http://[::1]:9000", True),
        ("http://s3.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://10.0.0.1:9000", False),
    ],
)
def test_http_only_stays_on_this_machine(endpoint: str, allowed: bool) -> None:
    config = S3Config(bucket="abc", endpoint_url=endpoint)
    if allowed:
        connect(Target("abc", "", config))
        return
    with pytest.raises(InputError, match="unencrypted"):
        connect(Target("abc", "", config))
    connect(Target("abc", "", config.model_copy(update={"allow_http": True})))


def test_the_endpoint_of_a_profile_of_the_aws_tools_is_held_to_the_same_rule(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path_factory.mktemp("aws") / "config"
    file.write_text("[default]\nendpoint_url = http://s3.example.com\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    with pytest.raises(InputError, match="unencrypted"):
        connect(Target("abc", "", S3Config()))


def test_an_endpoint_that_is_none() -> None:
    with pytest.raises(InputError, match="not an address"):
        connect(Target("abc", "", S3Config(endpoint_url="s3.example.com")))
