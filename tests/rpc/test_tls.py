"""TLS: the server speaks it with a certificate and its key, and says what is wrong with those."""

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support import DEADLINE, FRONTEND, settings
from usermeta_server.errors import OperatorError
from usermeta_server.server import start_server


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1, signed by its own key, and return the paths of both."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "usermeta test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return cert_file, key_file


async def outcome(channel: grpc.aio.Channel) -> tuple[grpc.StatusCode, str]:
    """Return how a call without a credential ends."""
    call = channel.unary_unary(f"{FRONTEND}GetUser", request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"", timeout=DEADLINE)
    return caught.value.code(), caught.value.details() or ""


async def test_the_server_speaks_tls(tmp_path: Path) -> None:
    cert_file, key_file = certificate(tmp_path)
    roots = cert_file.read_bytes()
    async with start_server(settings(tmp_path, tls_cert=cert_file, tls_key=key_file)) as server:
        address = f"127.0.0.1:{server.port}"
        async with grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(roots)) as channel:
            code, _ = await outcome(channel)
            assert code is grpc.StatusCode.UNAUTHENTICATED
        async with grpc.aio.insecure_channel(address) as channel:
            code, _ = await outcome(channel)
            assert code is grpc.StatusCode.UNAVAILABLE


async def started(chosen: Any) -> str:  # noqa: ANN401  # settings
    """Return why a server does not start."""
    with pytest.raises(OperatorError) as caught:
        async with start_server(chosen):
            pass
    return str(caught.value)


@pytest.mark.parametrize("name", ["tls_cert", "tls_key"])
async def test_tls_needs_both_a_certificate_and_its_key(tmp_path: Path, name: str) -> None:
    files = dict(zip(("tls_cert", "tls_key"), certificate(tmp_path), strict=True))
    assert "both" in await started(settings(tmp_path, **{name: files[name]}))


@pytest.mark.parametrize("name", ["tls_cert", "tls_key"])
async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    files = dict(zip(("tls_cert", "tls_key"), certificate(tmp_path), strict=True))
    files[name] = tmp_path / "missing.pem"
    assert "missing.pem" in await started(settings(tmp_path, **files))


@pytest.mark.parametrize("name", ["tls_cert", "tls_key"])
async def test_a_file_that_is_no_pem_is_not_taken_for_an_address_in_use(tmp_path: Path, name: str) -> None:
    files = dict(zip(("tls_cert", "tls_key"), certificate(tmp_path), strict=True))
    files[name].write_text("nonsense")
    told = await started(settings(tmp_path, **files))
    assert "another program" not in told
