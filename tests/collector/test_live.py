"""What can be said of the real exchange without a network: addresses, TLS, limits.

The limits are those of binance-protocol, section 1 (websocket) and 4 (REST).
"""

import datetime
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import ServerConnection, serve

from collector.budget import SHARE, WEIGHT_A_MINUTE, Budget
from collector.history import ENDPOINTS
from collector.protocol import (
    ATTEMPTS_WINDOW_SECONDS,
    MAX_ATTEMPTS,
    SECONDS_BETWEEN_MESSAGES,
    AttemptLimiter,
    batches,
    plan_shards,
)
from collector.rest import EXCHANGE_INFO_WEIGHT, Rest, UnavailableError
from collector.settings import TRANSPORTS, Settings, read_settings
from collector.transports import ConnectError, load_transport

ROOT = Path(__file__).parents[2]
DEFAULTS = Settings()
SECONDS_BETWEEN_PONGS = 20.0
# Symbols of the quote asset USDT that trade, and all that trade, generously.
USDT_SYMBOLS, ALL_SYMBOLS = 700, 2500
ALL_CHANNELS = (
    *("trade", "aggTrade", "bookTicker"),
    *("kline_1m", "kline_5m", "kline_15m", "kline_1h", "kline_4h", "kline_1d"),
)


def symbols(number: int) -> list[str]:
    return [f"A{each}USDT" for each in range(number)]


# --- addresses


def test_defaults_are_the_public_market_data_endpoints_over_tls() -> None:
    assert read_settings({}) == DEFAULTS
    websocket, rest = urlsplit(DEFAULTS.ws_url), urlsplit(DEFAULTS.rest_url)
    assert (websocket.scheme, websocket.hostname) == ("wss", "data-stream.binance.vision")
    assert (rest.scheme, rest.hostname) == ("https", "api.binance.com")
    assert websocket.port is None
    assert rest.port is None


def test_nothing_needs_an_account() -> None:
    for path in sorted((ROOT / "collector").rglob("*.py")):
        text = path.read_text("utf-8").lower()
        assert not re.search(r"x-mbx-apikey|api_?key|signature=", text), path.name


# --- limits


@pytest.mark.parametrize(
    ("number", "channels"), [(USDT_SYMBOLS, DEFAULTS.channels), (ALL_SYMBOLS, ALL_CHANNELS)]
)
def test_a_market_fits_into_the_limits(number: int, channels: tuple[str, ...]) -> None:
    shards = plan_shards(symbols(number), channels, DEFAULTS.streams_per_connection)
    assert max(len(shard.streams) for shard in shards) <= 1024
    # Even if all connections of two collectors behind one address come anew at once.
    assert 2 * len(shards) <= MAX_ATTEMPTS
    limiter = AttemptLimiter()
    assert all(limiter.reserve(0.0) == 0.0 for _ in shards)
    # A connection has asked for everything before the exchange could take it for dead.
    messages = max(len(list(batches(shard.streams))) for shard in shards)
    assert messages * SECONDS_BETWEEN_MESSAGES < SECONDS_BETWEEN_PONGS


def test_attempts_and_messages_stay_below_what_is_allowed() -> None:
    assert (MAX_ATTEMPTS, ATTEMPTS_WINDOW_SECONDS) == (300, 300.0)
    assert 1 / SECONDS_BETWEEN_MESSAGES + 1 / SECONDS_BETWEEN_PONGS < 5


def test_a_connection_ends_before_the_exchange_ends_it() -> None:
    assert DEFAULTS.rotate_seconds < 24 * 3600
    # A minute without a pong is the exchange's own patience.
    assert SECONDS_BETWEEN_PONGS < DEFAULTS.silence_seconds <= 60


def test_requests_stay_below_the_weight_of_an_address() -> None:
    assert WEIGHT_A_MINUTE == 6000
    assert SHARE < 1
    assert {channel: each.weight for channel, each in ENDPOINTS.items()} == {
        "trade": 25,
        "aggTrade": 4,
    }
    assert EXCHANGE_INFO_WEIGHT == 20
    a_minute = EXCHANGE_INFO_WEIGHT * 60 / DEFAULTS.exchange_info_seconds
    assert a_minute < WEIGHT_A_MINUTE / 1000
    budget, now, sent = Budget(), 1_770_000_001.0, 0
    while budget.delay(25, now) == 0:
        budget.spend(25, now)
        sent += 1
    assert sent * 25 <= WEIGHT_A_MINUTE * SHARE


# --- TLS

# What turns verification off, in the libraries that we use and those that we might.
UNVERIFIED = re.compile(
    r"CERT_NONE|_create_unverified_context|check_hostname\s*=\s*False|verify_mode\s*="
    r"|\bverify(_ssl)?\s*=\s*False|\bssl(_context)?\s*=\s*(False|None)|TCPConnector\("
    r"|insecure_channel\(|disable_warnings\("
)


def test_no_code_turns_verification_off() -> None:
    for folder in ("collector", "plugins"):  # those that ask Binance
        for path in (ROOT / folder).rglob("*.py"):
            assert not UNVERIFIED.search(path.read_text("utf-8")), path


@pytest.mark.parametrize(
    "code",
    [
        *("ssl=False", "ssl_context = None", "verify=False", "verify_ssl=False", "CERT_NONE"),
        *("context.verify_mode = 0", "check_hostname = False", "TCPConnector(limit=1)"),
        *("_create_unverified_context()", "grpc.insecure_channel(x)", "disable_warnings()"),
    ],
)
def test_such_code_is_seen(code: str) -> None:
    assert UNVERIFIED.search(code)


def certificate(folder: Path, host: str) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context with a certificate that signs itself, and the file to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName(host)]
    if host == "127.0.0.1":
        names = [x509.IPAddress(ip_address(host))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, private = folder / "certificate.pem", folder / "key.pem"
    trusted.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, private)
    return context, trusted


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Whom this process trusts is changed by `SSL_CERT_FILE`, and only in a test."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    return monkeypatch


@asynccontextmanager
async def exchange(context: ssl.SSLContext) -> AsyncIterator[str]:
    """Serve websockets over TLS on loopback and yield the address."""

    async def stay(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with serve(stay, "127.0.0.1", 0, ssl=context, ping_interval=None) as running:
        yield f"wss://127.0.0.1:{running.sockets[0].getsockname()[1]}/stream"


@pytest.mark.integration
@pytest.mark.parametrize("name", TRANSPORTS)
@pytest.mark.parametrize(
    ("host", "is_trusted", "says"),
    [
        ("127.0.0.1", False, "CERTIFICATE_VERIFY_FAILED"),
        ("other.example", True, "CERTIFICATE_VERIFY_FAILED.*(IP address|Hostname) mismatch"),
        ("127.0.0.1", True, ""),
    ],
    ids=["unknown issuer", "another's name", "good"],
)
async def test_websockets_are_opened_to_whom_the_certificate_names(
    tmp_path: Path,
    trusted: pytest.MonkeyPatch,
    name: str,
    host: str,
    is_trusted: bool,
    says: str,
) -> None:
    context, file = certificate(tmp_path, host)
    if is_trusted:
        trusted.setenv("SSL_CERT_FILE", str(file))
    async with exchange(context) as url:
        if says:
            with pytest.raises(ConnectError, match=says):
                await load_transport(name).connect(url, lambda _: None)
        else:
            link = await load_transport(name).connect(url, lambda _: None)
            await link.close()


@pytest.mark.integration
async def test_rest_is_asked_of_whom_the_certificate_names(tmp_path: Path) -> None:
    context, _ = certificate(tmp_path, "127.0.0.1")
    server = TestServer(web.Application(), scheme="https")
    await server.start_server(ssl=context)
    try:
        url = str(server.make_url("/")).rstrip("/")
        assert url.startswith("https://")
        async with Rest(url, Budget()) as rest:
            with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                await rest.get("/", {}, 1)
    finally:
        await server.close()
