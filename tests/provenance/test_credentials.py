"""Images that are drawn say in the words of C2PA which model drew them, as its own library reads it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from PIL import Image

from synth.data.source import open_source
from synth.errors import UserError
from synth.provenance import credentials, keys, lineage, manifest
from synth.provenance.manifest import Manifest
from tests.command import run
from tests.serving.releases import publish, publish_images


def read(data: bytes, trusted: bytes | None = None) -> tuple[str, dict[str, Any]]:
    """What the library makes of a file: a word, and the manifest."""
    trust = {} if trusted is None else {"trust": {"user_anchors": trusted.decode()}}
    context = c2pa.Context.from_dict({"verify": {"verify_trust": True}} | trust)
    with c2pa.Reader("image/png", io.BytesIO(data), context=context) as reader:
        return reader.get_validation_state(), reader.get_active_manifest()


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_images(tmp_path_factory.mktemp("pets") / "pets")


def draw(pets: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> list[Path]:
    command = ["sample", str(pets), "-n", "3", "--seed", "7", "--format", "png", "--out", f"{out}/", *options]
    assert run(command, monkeypatch) == 0
    return sorted(out.rglob("*.png"), key=lambda path: path.name)


def test_each_image_says_what_drew_it(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed, plain = draw(pets, tmp_path / "a", monkeypatch, "--c2pa"), draw(pets, tmp_path / "b", monkeypatch)
    record: Manifest = manifest.parse((pets / "manifest.json").read_bytes())
    for row, (path, other) in enumerate(zip(signed, plain, strict=True)):
        assert path.relative_to(tmp_path / "a") == other.relative_to(tmp_path / "b")
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(other)))
        state, found = read(path.read_bytes())
        assert state == "Valid" and found["claim_generator_info"][0]["name"] == "artesian"
        said = {one["label"]: one["data"] for one in found["assertions"]}
        [action] = said["c2pa.actions.v2"]["actions"]
        assert action["action"] == "c2pa.created"
        assert action["digitalSourceType"] == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
        assert said[credentials.LABEL] == {"release": record.id, "depth": 1, "realFraction": 1, "seed": 7, "row": row}
        assert path.stat().st_size - other.stat().st_size < 30_000
    with pytest.raises(c2pa.C2paError.ManifestNotFound):
        read(plain[0].read_bytes())


def test_what_was_asked_is_said_too(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [path, *_] = draw(pets, tmp_path / "a", monkeypatch, "--c2pa", "--where", "label=cat")
    [origin] = lineage.claims(open_source(tmp_path / "a"))
    said = {one["label"]: one["data"] for one in read(path.read_bytes())[1]["assertions"]}
    assert origin.origin is not None and said[credentials.LABEL]["asked"] == origin.origin.key


def test_a_pixel_that_was_changed_is_found(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = draw(pets, tmp_path / "a", monkeypatch, "--c2pa")[0].read_bytes()
    pixels = np.array(Image.open(io.BytesIO(data)))
    pixels[0, 0, 0] ^= 1
    changed = io.BytesIO()
    Image.fromarray(pixels).save(changed, "PNG")

    def body(png: bytes) -> tuple[int, int]:
        """The chunk of the pixels."""
        start = png.index(b"IDAT") - 4
        return start, start + int.from_bytes(png[start : start + 4], "big") + 12

    (a, b), (c, d) = body(data), body(changed.getvalue())
    forged = data[:a] + changed.getvalue()[c:d] + data[b:]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(forged))), pixels)
    assert read(forged)[0] == "Invalid"


def test_who_trusts_the_issuer_trusts_the_image(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = draw(pets, tmp_path / "a", monkeypatch, "--c2pa")[0].read_bytes()
    own = credentials.credentials()
    first, issuer = x509.load_pem_x509_certificates(own.certificates)
    state, found = read(data, issuer.public_bytes(serialization.Encoding.PEM))
    assert state == "Trusted"
    signer = keys.fingerprint(keys.signing_key().public_key().public_bytes_raw())
    assert found["signature_info"]["common_name"] == signer and signer in first.subject.rfc4514_string()


def test_the_key_is_made_once_for_its_owner_alone(config_dir: Path) -> None:
    first = credentials.credentials()
    assert credentials.own_file().stat().st_mode & 0o777 == 0o600
    assert credentials.credentials() == first and first.algorithm == "es256"
    assert sorted(path.name for path in config_dir.iterdir()) == ["c2pa.pem", "signing.key"]
    credentials.own_file().chmod(0o640)
    with pytest.raises(UserError, match="can be read by others"):
        credentials.credentials()
    credentials.own_file().chmod(0o600)
    credentials.own_file().write_text("hunter2")
    with pytest.raises(UserError, match="holds no key"):
        credentials.credentials()


def certificate(
    key: CertificateIssuerPrivateKeyTypes, *, name: str = "Ana", days: int = 9, purpose: str = "1.3.6.1.5.5.7.3.4"
) -> bytes:
    """One that a small authority has given Ana, in PEM."""
    by = ec.generate_private_key(ec.SECP256R1())
    called = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)]) for one in (name, "Authority")]
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    made = (
        x509.CertificateBuilder(called[1], called[0], key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=10))
        .not_valid_after(datetime.now(UTC) + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose)]), critical=False)
    )
    return made.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def pem(key: Any) -> bytes:
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return bytes(key.private_bytes(*encoding))


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, bytes], None]:
    """Names a key and a certificate by the environment."""

    def given(key: bytes, chain: bytes) -> None:
        (tmp_path / "key.pem").write_bytes(key)
        (tmp_path / "key.pem").chmod(0o600)
        (tmp_path / "cert.pem").write_bytes(chain)
        monkeypatch.setenv("ARTESIAN_C2PA_KEY", str(tmp_path / "key.pem"))
        monkeypatch.setenv("ARTESIAN_C2PA_CERT", str(tmp_path / "cert.pem"))

    return given


def test_a_certificate_of_an_authority_is_used(
    pets: Path, given: Callable[[bytes, bytes], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config_dir: Path
) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    given(pem(key), certificate(key))
    state, found = read(draw(pets, tmp_path / "a", monkeypatch, "--c2pa")[0].read_bytes())
    assert (state, found["signature_info"]["common_name"], found["signature_info"]["alg"]) == ("Valid", "Ana", "Es384")
    assert not credentials.own_file().exists()


def test_keys_and_certificates_that_cannot_sign_are_named(
    pets: Path, given: Callable[[bytes, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, key = manifest.parse((pets / "manifest.json").read_bytes()), ec.generate_private_key(ec.SECP256R1())
    odd = dsa.generate_private_key(1024)
    for secret, chain, says in (
        (b"hunter2", certificate(key), "not an unencrypted key and its certificate"),
        (pem(key), b"hunter2", "not an unencrypted key and its certificate"),
        (pem(key), certificate(ec.generate_private_key(ec.SECP256R1())), "the certificate is of another key"),
        (pem(key), certificate(key, days=-1), "the certificate has expired"),
        (
            pem(key),
            certificate(key, purpose="1.3.6.1.5.5.7.3.1"),
            "cannot sign content credentials .*the purpose emailProtection",
        ),
        (pem(odd), certificate(odd), "C2PA knows no such key"),
    ):
        given(secret, chain)
        with pytest.raises(UserError, match=says) as caught:
            credentials.seal(record, 0)
        assert "hunter2" not in str(caught.value) and "PRIVATE" not in str(caught.value)
    for name in ("ARTESIAN_C2PA_CERT", "ARTESIAN_C2PA_KEY"):
        monkeypatch.setenv(name, "/nowhere.pem")
        with pytest.raises(UserError, match=f"{name}=/nowhere.pem"):
            credentials.credentials()
        monkeypatch.delenv(name)
        with pytest.raises(UserError, match=f"{name}: is not set"):
            credentials.credentials()
        given(pem(key), certificate(key))


def test_what_is_asked_for_where_it_cannot_be_is_refused(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sample", str(pets), "-n", "3", "--out", str(tmp_path / "x.parquet"), "--c2pa"], monkeypatch) == 2
    assert "--c2pa: signs files of images; draw them with --format png" in " ".join(capsys.readouterr().err.split())
    table = publish(tmp_path / "people")
    assert (
        run(["sample", str(table), "-n", "3", "--out", f"{tmp_path}/y/", "--format", "png", "--c2pa"], monkeypatch) == 2
    )
    assert "draws rows of a table, not images" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert (
        run(["sample", str(pets), "-n", "3", "--out", f"{tmp_path}/z/", "--format", "png", "--c2pa"], monkeypatch) == 2
    )
    assert "pip install 'artesian[c2pa]'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "z").exists()


def test_a_key_is_not_shown() -> None:
    found = credentials.credentials()
    assert "PRIVATE" not in repr(found) and b"PRIVATE" in found.key
