"""Keys are read with care, kept as digests, and told by none of the messages."""

import hashlib

import pytest

from brickwork.core.errors import BrickworkWarning, ConfigError
from brickwork.service.config import Limits, ServiceConfig, is_loopback
from brickwork.service.keys import is_known, read_keys

ONE, TWO = "a-first-key-of-some-length", "the_second_key_0123456789"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys.txt"
    path.touch(0o600)
    return path


def test_keys_of_file_and_variable_all_work(file):
    file.write_text(f"# team A\n{ONE}\n\n  {TWO}  \n")
    keys = read_keys(file, "key-from-the-variable, another-one-there-too")
    assert len(keys) == 4
    for key in (ONE, TWO, "key-from-the-variable", "another-one-there-too"):
        assert is_known(key, keys)
    for key in ("", ONE[:-1], ONE + "x", ONE.upper(), "# team A"):
        assert not is_known(key, keys)


def test_only_digests_are_kept(file):
    file.write_text(ONE)
    config = ServiceConfig(target="x", keys=read_keys(file, None))
    assert config.keys == (hashlib.sha256(ONE.encode()).digest(),)
    assert "sha" not in repr(config)
    assert ONE not in repr(config)


def test_a_key_counts_once(file):
    file.write_text(f"{ONE}\n{ONE}\n")
    assert len(read_keys(file, ONE)) == 1


@pytest.mark.parametrize(
    ("content", "place"),
    [(f"{ONE}\nshort", "line 2"), (f"{ONE} with spaces", "line 1"), (f"{ONE}é", "line 1")],
)
def test_an_unusable_key_is_named_by_its_place_only(file, content, place):
    file.write_text(content)
    with pytest.raises(ConfigError, match=place) as refused:
        read_keys(file, None)
    assert ONE not in str(refused.value)
    assert "short" not in str(refused.value)


def test_a_file_without_keys_or_that_cannot_be_read_is_refused(file, tmp_path):
    file.write_text("# nothing yet\n")
    with pytest.raises(ConfigError, match="holds no key"):
        read_keys(file, None)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keys(tmp_path / "none", None)


def test_a_file_that_others_can_read_is_told_of(file):
    file.write_text(ONE)
    file.chmod(0o644)
    with pytest.warns(BrickworkWarning, match="chmod 600"):
        read_keys(file, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_addresses_of_this_machine_need_no_keys(host):
    assert is_loopback(host)
    ServiceConfig(target="x", host=host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com", "localhost.example.com", ""])
def test_public_addresses_need_keys_and_the_message_says_how(host):
    with pytest.raises(ConfigError, match="--api-key-file"):
        ServiceConfig(target="x", host=host)
    ServiceConfig(target="x", host=host, keys=(b"digest",))


def test_a_batch_larger_than_the_queue_is_refused():
    with pytest.raises(ConfigError, match="--max-queue-tokens 10"):
        Limits(batch_tokens=11, queue_tokens=10)
