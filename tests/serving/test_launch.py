"""What is wrong with what a person names is said before anything is started."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serving import launch, private_file
from serving.launch import running, settings_of
from serving.settings import Settings
from synth.errors import ReleaseError, UserError
from tests.serving.releases import publish
from tests.serving.service import key


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(address: str | None) -> None:
        raise AssertionError("Ray is started")

    monkeypatch.setattr(launch, "connected", start)


def pem(folder: Path, password: bytes | None = None) -> tuple[str, str]:
    """The places of a certificate and its key."""
    private, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")]),
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key()).serial_number(1)
    )
    signed = made.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(private, hashes.SHA256())
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    place = folder / f"{private.public_key().public_numbers().x}"
    place.with_suffix(".crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    place.with_suffix(".key").write_bytes(
        private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    return str(place.with_suffix(".crt")), str(place.with_suffix(".key"))


def test_a_release_is_named_as_it_was_published_unless_it_gets_another_name(people: Path) -> None:
    settings = settings_of([str(people)], None, {"port": 0})
    assert settings.generators["people"].versions == {1: str(people)} and settings.port == 0
    assert settings.replicas[0] == 1 and settings.replica_cpus == 0.5
    assert list(settings_of([f"adult@4={people}"], None, {}).generators["adult"].versions) == [4]


def test_a_place_may_have_an_equals_sign(tmp_path: Path) -> None:
    place = publish(tmp_path / "day=3")
    assert settings_of([str(place)], None, {}).generators["people"].versions == {1: str(place)}
    assert settings_of([f"adult={place}"], None, {}).generators["adult"].versions == {1: str(place)}


def test_a_file_is_read_and_what_is_given_holds_instead(people: Path, tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(f"generators: {{adult: {{versions: {{1: {people}}}}}}}\npolicy: stop\n")
    assert settings_of([], file, {"policy": "warn"}).policy == "warn"
    assert list(settings_of([str(people)], file, {}).generators) == ["people"]


@pytest.mark.parametrize("place", ["nowhere", "adult=nowhere"])
def test_a_place_that_holds_no_release_is_named(place: str) -> None:
    with pytest.raises(UserError, match="nowhere"):
        settings_of([place], None, {})


def test_a_release_of_an_unknown_signer_is_named_before_ray_is_started(people: Path, tmp_path: Path) -> None:
    settings = settings_of([str(people)], None, {"state": str(tmp_path)})  # each test has another key of its own
    with pytest.raises(ReleaseError, match="is signed by an unknown key"), running(settings):
        pass


def test_two_services_do_not_share_their_state(people: Path, tmp_path: Path) -> None:
    served = {
        "generators": {"people": {"versions": {1: str(people)}}},
        "any_signer": True,
        "state": str(tmp_path / "state"),
    }
    settings = Settings.check(served, where="x")
    (tmp_path / "state").mkdir(0o700)
    with (
        private_file.locked(tmp_path / "state" / "service"),
        pytest.raises(UserError, match=r"another service .*: --state DIR"),
        running(settings),
    ):
        pass
    with pytest.raises(AssertionError, match="Ray is started"), running(settings):  # and when that has ended
        pass


def test_files_that_cannot_be_used_are_named_before_ray_is_started(people: Path, tmp_path: Path) -> None:
    served = {"generators": {"people": {"versions": {1: str(people)}}}, "state": str(tmp_path / "state")}

    def refused(**settings: str) -> str:
        with pytest.raises(UserError) as found, running(Settings.check(served | settings, where="x")):
            pass
        return str(found.value)

    assert "there is no such keys file; make it with artesian keys add" in refused(keys=str(tmp_path / "keys.yaml"))
    (tmp_path / "wrong.yaml").touch(0o600)
    assert "wrong.yaml: is no keys file" in refused(keys=str(tmp_path / "wrong.yaml"))
    (certificate, private), (_, other), (locked, password) = pem(tmp_path), pem(tmp_path), pem(tmp_path, b"secret")
    for pair in ((certificate, other), (certificate, str(tmp_path / "none")), (locked, password), (private, private)):
        told = refused(certificate=pair[0], certificate_key=pair[1])
        assert f"certificate {pair[0]} and certificate_key {pair[1]}: cannot be used" in told and "PEM files" in told
    key(tmp_path / "keys.yaml")
    good = served | {
        "keys": str(tmp_path / "keys.yaml"),
        "certificate": certificate,
        "certificate_key": private,
        "any_signer": True,
    }
    with pytest.raises(AssertionError, match="Ray is started"), running(Settings.check(good, where="x")):
        pass
