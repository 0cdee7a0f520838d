"""A signing key that a process makes for itself, for Content Credentials where the user has none."""

from __future__ import annotations

import datetime
import functools
import os

NAME = "Arc2Face Studio (self-made key)"
_YEARS = 10


def self_made() -> tuple[bytes, bytes]:
    """Certificates (the signer's, then that of the authority that vouches for it) and private key, as PEM.

    Made once per process: ECDSA on P-256, an authority of its own as C2PA asks for. The authority's key is forgotten at
    once; the signer's lives in memory.
    """
    return _made(os.getpid())


@functools.lru_cache(maxsize=1)
def _made(process: int) -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.timezone.utc)

    def named(what: str) -> x509.Name:
        pairs = ((NameOID.ORGANIZATION_NAME, NAME), (NameOID.COMMON_NAME, what))
        return x509.Name([x509.NameAttribute(kind, text) for kind, text in pairs])

    def usage(signs: bool) -> x509.KeyUsage:
        return x509.KeyUsage(signs, False, False, False, False, not signs, not signs, False, False)

    def begun(subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(named("authority"))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
            .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )

    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        begun(named("authority"), authority.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage(signs=False), critical=True)
        .sign(authority, hashes.SHA256())
    )
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    leaf = (
        begun(named(NAME), own.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(above, critical=False)
        .sign(own, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return leaf.public_bytes(pem) + root.public_bytes(pem), key
