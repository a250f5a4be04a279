"""Secrets that a person or a sample made up are refused; random ones never are."""

from __future__ import annotations

import base64
import pathlib
import random
import string

import pytest
from cryptography import fernet

from controller import conf as configuration
from controller import exceptions
from controller.conf import health_manager
from controller.drivers.ca.local import LocalCertificateAuthority
from controller.drivers.secrets.local import LocalSecrets
from controller.model import strength

_ALPHABETS = {"hexadecimal": "0123456789abcdef", "URL-safe": string.ascii_letters + string.digits + "-_"}
_WORDS = ("insecure", "change", "secret", "password", "heartbeat", "octavia", "example", "default", "controller", "figlina", "admin")
_RUNS = ("0123456789abcdef", "abcdefghijklmnop", "fedcba9876543210", "qwertyuiopasdfgh", "1234567890123456", "0011223344556677")


def _weak() -> list[str]:
    """Words with separators and numbers, repetitions, runs, and each of them twice or with an end."""
    drawn = random.Random(7)
    words = ["".join(drawn.choice(_WORDS) + drawn.choice(("", "-", "_", ".")) for _ in range(drawn.randint(2, 4))) for _ in range(300)]
    numbers = [word + str(drawn.randint(1, 2030)) for word in words]
    short = ["".join(drawn.choice(string.printable[:62]) for _ in range(length)) for length in range(1, 9) for _ in range(20)]
    repeated = [(text * 40)[: drawn.randint(16, 64)] for text in short]
    runs = [run * times + end for run in _RUNS for times in (1, 2, 4) for end in ("", "1", "!")]
    upper = [text.upper() for text in (*words, *repeated, *runs)]
    return [*words, *numbers, *repeated, *runs, *upper]


def test_generated_weak_keys_are_refused() -> None:
    weak = _weak()
    assert len(weak) > 1000
    assert [text for text in weak if not strength.is_guessable(text)] == []


@pytest.mark.parametrize(
    "key",
    [
        "0123456789abcdef" * 2,
        "changemechangeme1",
        "insecure-key-insecure-key",
        "P@ssw0rdP@ssw0rd",
        "my-secret-deployment-key",
        "this is a very secret key",
        "correcthorsebatterystaple",
        "deadbeef" * 8,
        "00112233445566778899aabbccddeeff",
    ],
)
def test_what_people_write_is_refused_with_a_word_on_what_to_do(key: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -hex 32") as caught:
        health_manager.deployment_keys([key])
    assert key not in str(caught.value)


def test_no_value_of_the_samples_is_a_key() -> None:
    """Whatever stands in the configuration sample, and could be copied from it, is refused."""
    text = (pathlib.Path(__file__).parents[3] / "etc" / "figlina.conf.sample").read_text()
    values = [line.partition("=")[2].strip() for line in text.splitlines() if line.startswith("#") and " = " in line]
    found = [value for value in values if value and " " not in value and not strength.is_guessable(value)]
    assert [value for value in found if len(value) < 40 and not set(value) & set("/:.%<")] == []


@pytest.mark.lengthy
def test_ten_thousand_random_keys_are_taken() -> None:
    drawn = random.Random(11)
    lengths = {"hexadecimal": (32, 64), "URL-safe": (22, 32, 43)}
    kinds = [(name, length) for name in _ALPHABETS for length in lengths[name]]
    keys = ["".join(drawn.choices(_ALPHABETS[name], k=length)) for name, length in kinds for _ in range(2000)]
    assert len(keys) == 10_000
    assert [key for key in keys if strength.is_guessable(key)] == []


def test_raw_keys_are_judged_too() -> None:
    drawn = random.Random(13)
    weak = [bytes(32), bytes(range(32)), b"a" * 32, b"0123456789abcdef" * 2, b"my secret key of the deployment!", bytes(range(0, 64, 2))]
    assert [key for key in weak if not strength.is_guessable_key(key)] == []
    assert not any(strength.is_guessable_key(drawn.randbytes(32)) for _ in range(1000))


@pytest.mark.parametrize("key", [bytes(32), b"0123456789abcdef" * 2, b"my secret key of the deployment!"])
def test_a_guessable_key_of_the_secret_store_is_refused(tmp_path: pathlib.Path, key: bytes) -> None:
    made_up = base64.urlsafe_b64encode(key)
    with pytest.raises(exceptions.Misconfigured, match=r"Fernet\.generate_key"):
        LocalSecrets(tmp_path / "secrets", [made_up])
    LocalSecrets(tmp_path / "secrets", [fernet.Fernet.generate_key(), made_up])  # it still opens what it has closed


def test_a_guessable_passphrase_of_the_authority_is_refused(tmp_path: pathlib.Path) -> None:
    conf = configuration.load([], [])
    conf.set_override("ca_path", str(tmp_path / "ca"), group="certificates")
    conf.set_override("create", True, group="certificates")
    conf.set_override("ca_private_key_passphrase", "not-secure-passphrase", group="certificates")
    with pytest.raises(exceptions.Misconfigured, match="openssl rand -hex 32"):
        LocalCertificateAuthority.from_conf(conf)
    conf.set_override("ca_private_key_passphrase", "9a3ce18f7b60d25418ecf0ab72d93c65", group="certificates")
    assert LocalCertificateAuthority.from_conf(conf).server_roots()
