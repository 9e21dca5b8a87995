"""Content credentials of images, as C2PA has them: in the file itself, and signed, that a model drew it, and which.

Every tool that reads C2PA finds the release, the depth, the seed and the row, and whether a pixel was changed since. Whose
signature it is, is a matter of certificates. That of a known authority is named by

    ARTESIAN_C2PA_CERT   PEM: the certificate, and those that it hangs from
    ARTESIAN_C2PA_KEY    PEM: its key, readable by its owner alone

Where these are not set, a key of its own and a certificate for it are made, and kept in ``c2pa.pem`` beside the signing key.
Nobody knows that certificate, and tools say so; but all images that this user has signed can be told from all others by it.

The pixels are those that the seed gives; the files differ each time, for a signature and an identifier are new.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from synth.data.images import png
from synth.errors import UserError
from synth.provenance import keys
from synth.provenance.manifest import Manifest, installed_version

CERT, KEY = "ARTESIAN_C2PA_CERT", "ARTESIAN_C2PA_KEY"
LABEL = "artesian.release"  # of our assertion
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
YEARS = 10  # that an own certificate holds
_WHAT = "key of content credentials"
_SECRET = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----\n?", re.DOTALL)
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class Credentials:
    """A key and the certificates that vouch for it, the key's own first, in PEM; ``place`` is where they are from."""

    place: str
    key: bytes = field(repr=False)
    certificates: bytes
    algorithm: str  # as C2PA calls it

    @classmethod
    def of(cls, place: str, key: bytes, certificates: bytes) -> Credentials:
        """UserError for what is no such key or certificate, or where the one is not the other's."""
        try:
            secret = serialization.load_pem_private_key(key, password=None)
            [first, *_] = x509.load_pem_x509_certificates(certificates)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted. Neither is quoted.
            raise UserError(f"{place}: not an unencrypted key and its certificate in PEM; name others") from None
        if isinstance(secret, ec.EllipticCurvePrivateKey) and secret.curve.name in _CURVES:
            algorithm = _CURVES[secret.curve.name]
        elif isinstance(secret, ed25519.Ed25519PrivateKey):
            algorithm = "ed25519"
        elif isinstance(secret, rsa.RSAPrivateKey):
            algorithm = "ps256"
        else:
            raise UserError(f"{place}: C2PA knows no such key; make one of EC P-256")
        if secret.public_key() != first.public_key():
            raise UserError(f"{place}: the certificate is of another key; name those that belong together")
        if first.not_valid_after_utc < datetime.now(UTC):
            raise UserError(f"{place}: the certificate has expired; name another, or move it away to have one made")
        return cls(place, key, certificates, algorithm)


def own_file() -> Path:
    """Where this user's own key and certificates are, or will be."""
    return keys.config_dir() / "c2pa.pem"


def credentials() -> Credentials:
    """Those that the environment names, else this user's own, which are made if there are none yet."""
    named = {name: os.environ.get(name, "") for name in (CERT, KEY)}
    if all(named.values()):
        key = keys.read_private(Path(named[KEY]), _WHAT)
        if key is None:
            raise UserError(f"{KEY}={named[KEY]}: no such file; name the key in PEM")
        try:
            certificates = Path(named[CERT]).read_bytes()
        except OSError as e:
            raise UserError(f"{CERT}={named[CERT]}: cannot be read ({e.strerror}); name the certificate in PEM") from e
        return Credentials.of(f"{named[CERT]} and {named[KEY]}", key, certificates)
    if any(named.values()):
        missing = next(name for name, value in named.items() if not value)
        raise UserError(f"{missing}: is not set, and a certificate and its key belong together; set both or none")
    content = keys.read_private(own_file(), _WHAT)
    if content is None:
        keys.keep_private(own_file(), _made(), _WHAT)
        content = keys.read_private(own_file(), _WHAT)
    secret = _SECRET.search(content or b"")
    if content is None or secret is None:
        raise UserError(f"{own_file()}: holds no key; restore it, or move it away to have one made")
    return Credentials.of(str(own_file()), secret[0], content.replace(secret[0], b""))


def seal(manifest: Manifest, seed: int, key: str | None = None) -> Callable[[int, bytes], bytes]:
    """What makes of row i's PNG file, drawn from a release with ``seed``, one with content credentials; ``key`` stands for what
    was asked, see ``Origin``.

    Raises UserError where the package for it is not installed, or the key or the certificate is not one for C2PA.
    """
    try:
        import c2pa
    except ImportError as e:
        raise UserError("--c2pa: needs the package c2pa-python; install it with: pip install 'artesian[c2pa]'") from e
    given = credentials()
    info = c2pa.C2paSignerInfo(given.algorithm, given.certificates, given.key, None)
    # A thumbnail would be larger than the image.
    context = c2pa.Context.from_dict({"builder": {"thumbnail": {"enabled": False}}})

    def sealed(row: int, data: bytes) -> bytes:
        out = io.BytesIO()
        with c2pa.Builder(_claim(manifest, seed, key, row), context=context) as builder:
            builder.sign(signer, "image/png", io.BytesIO(data), out)
        return out.getvalue()

    try:
        signer = c2pa.Signer.from_info(info)
        sealed(0, png(np.zeros((1, 1, 3), np.uint8)))  # what is wrong is said before anything is drawn
    except c2pa.C2paError as e:
        raise UserError(
            f"{given.place}: cannot sign content credentials ({' '.join(str(e).split())}); C2PA wants a certificate for "
            "digitalSignature and the purpose emailProtection, and one that did not sign itself"
        ) from e
    return sealed


def _claim(manifest: Manifest, seed: int, key: str | None, row: int) -> dict[str, Any]:
    generator = {"name": "artesian", "version": installed_version("artesian") or "unknown"}
    said = {
        "release": manifest.id, "depth": manifest.generation_depth + 1, "realFraction": manifest.real_fraction, "seed": seed,
        "row": row, **({} if key is None else {"asked": key}),
    }  # fmt: skip
    created = {"action": "c2pa.created", "digitalSourceType": SOURCE, "softwareAgent": generator}
    return {
        "claim_generator_info": [generator],
        "title": f"{row:06}.png",
        "format": "image/png",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": LABEL, "data": said},
        ],
    }


def _made() -> bytes:
    """A new key, its certificate, and that of the issuer, which C2PA wants to be another: its key is not kept."""
    issuer, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    signer = keys.fingerprint(keys.signing_key().public_key().public_bytes_raw())
    root, name = _name(f"Issuer of {signer}"), _name(signer)
    secret = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = [
        _certificate(name, own, root, issuer, authority=False),
        _certificate(root, issuer, root, issuer, authority=True),
    ]
    return b"".join([secret, *(one.public_bytes(serialization.Encoding.PEM) for one in chain)])


def _name(common: str) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Artesian")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, by: ec.EllipticCurvePrivateKey, *, authority: bool
) -> x509.Certificate:  # fmt: skip
    """As the certificate profile of C2PA wants them: for signatures alone, and for one of the purposes that it knows."""
    since = datetime.now(UTC) - timedelta(minutes=10)  # other machines' clocks may be behind
    usage = x509.KeyUsage(
        digital_signature=not authority, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=authority, crl_sign=authority, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(since + timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .add_extension(usage, critical=True)
    )
    if not authority:
        built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return built.sign(by, hashes.SHA256())
