from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synth.errors import UserError
from synth.provenance import keys


def stranger() -> bytes:
    return Ed25519PrivateKey.generate().public_key().public_bytes_raw()


def test_the_key_is_made_once_for_its_owner_alone(config_dir: Path) -> None:
    previous = os.umask(0)  # the widest: the mode must not lean on it
    try:
        first = keys.signing_key()
    finally:
        os.umask(previous)
    assert keys.key_file().stat().st_mode & 0o777 == 0o600
    assert config_dir.stat().st_mode & 0o777 == 0o700
    assert keys.signing_key().private_bytes_raw() == first.private_bytes_raw()
    assert [p.name for p in config_dir.iterdir()] == ["signing.key"]


def test_processes_that_sign_first_together_agree_on_one_key(config_dir: Path) -> None:
    code = "from synth.provenance import keys; print(keys.fingerprint(keys.sign(b'')[1]))"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate()[0] for process in started}) == 1
    assert [p.name for p in config_dir.iterdir()] == ["signing.key"]


def test_what_is_signed_verifies_and_nothing_else() -> None:
    signature, public_key = keys.sign(b"the manifest")
    assert keys.verify(b"the manifest", signature, public_key)
    assert not keys.verify(b"the manifesT", signature, public_key)
    assert not keys.verify(b"the manifest", signature[:-1] + bytes([signature[-1] ^ 1]), public_key)
    assert not keys.verify(b"the manifest", signature, stranger())
    assert not keys.verify(b"the manifest", signature, b"short")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_key_that_others_can_read_is_refused_with_the_remedy(mode: int) -> None:
    keys.signing_key()
    keys.key_file().chmod(mode)
    with pytest.raises(UserError, match=f"chmod 600 {keys.key_file()}"):
        keys.signing_key()


def test_a_file_that_is_no_key_is_named_and_never_quoted(config_dir: Path) -> None:
    other = rsa.generate_private_key(65537, 1024).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for content in (b"", b"hunter2", other):
        config_dir.mkdir(exist_ok=True)
        keys.key_file().write_bytes(content)
        keys.key_file().chmod(0o600)
        with pytest.raises(UserError, match=r"signing\.key: not an unencrypted Ed25519 key") as caught:
            keys.signing_key()
        assert "hunter2" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "folder", Path("/proc/nope")):
        monkeypatch.setenv("ARTESIAN_CONFIG_DIR", str(place))
        for make in (keys.signing_key, keys.ready):
            with pytest.raises(UserError, match=r"cannot be made .*ARTESIAN_CONFIG_DIR"):
                make()


def test_a_new_key_is_told_of_once() -> None:
    told = keys.ready()
    assert told is not None and str(keys.key_file()) in told
    assert keys.fingerprint(keys.sign(b"")[1]) in told
    assert keys.ready() is None


def test_the_secret_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    keys.signing_key()
    secret = keys.key_file().read_text().splitlines()[1]
    assert str(keys.key_file()) in caplog.text
    assert secret not in caplog.text


def test_signers_are_told_apart(config_dir: Path) -> None:
    own, friend = keys.sign(b"")[1], stranger()
    keys.trust_file().write_text(f"# colleagues\n\n{keys.fingerprint(friend)}  Ana of the data team  # since May\n")
    assert keys.signer(own).kind == "own"
    assert "your own key" in str(keys.signer(own))
    assert keys.signer(friend) == keys.Signer("trusted", keys.fingerprint(friend), "Ana of the data team")
    assert str(keys.signer(friend)).startswith("Ana of the data team (ed25519:")
    unknown = keys.signer(stranger())
    assert unknown.kind == "unknown"
    assert str(keys.trust_file()) in str(unknown)


def test_looking_at_a_signature_makes_no_key(config_dir: Path) -> None:
    assert keys.signer(stranger()).kind == "unknown"
    assert not config_dir.exists()


@pytest.mark.parametrize("line", ["ed25519:12 Ana", "Ana", "ed25519:" + "0" * 32])
def test_a_bad_line_of_the_trust_list_is_named(config_dir: Path, line: str) -> None:
    config_dir.mkdir()
    keys.trust_file().write_text(f"# first\n{line}\n")
    with pytest.raises(UserError, match="trusted_keys, line 2"):
        keys.signer(stranger())


def test_a_trust_list_that_is_not_text_is_named(config_dir: Path) -> None:
    config_dir.mkdir()
    keys.trust_file().write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="trusted_keys: is not UTF-8"):
        keys.signer(stranger())


def test_fingerprints_are_short_printable_and_differ() -> None:
    first, second = keys.fingerprint(stranger()), keys.fingerprint(stranger())
    assert first != second
    assert len(first) == 40
    assert first.isprintable()
