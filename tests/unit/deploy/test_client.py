"""The client of ksqlDB's HTTP API."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from statestore.deploy import KsqlClient
from statestore.deploy.answers import comparable_type, type_text
from statestore.errors import ConfigError, KsqlServerError
from statestore.settings import load_settings
from statestore.testing.ksqldb import StandInKsqldb

SECRET = "hunter2-secret"


@pytest.fixture
def client(server: StandInKsqldb) -> Iterator[KsqlClient]:
    with KsqlClient(server.url, wait=lambda _: None) as made:
        yield made


def test_info_and_health(server: StandInKsqldb, client: KsqlClient) -> None:
    info = client.info()
    assert (info.version, info.cluster, info.service) == ("0.29.0", "kafka-1", "default_")
    assert info.release == (0, 29)
    assert client.is_healthy()
    server.is_healthy = False
    assert not client.is_healthy()


def test_a_query_gives_rows_by_column(server: StandInKsqldb, client: KsqlClient) -> None:
    server.rows = [
        {"queryId": "q", "columnNames": ["ID", "NAME"], "columnTypes": ["BIGINT", "STRING"]},
        [1, "a\u2028b\x85\n"],
        [2, None],
    ]
    assert list(client.query("SELECT * FROM T;")) == [
        {"ID": 1, "NAME": "a\u2028b\x85\n"},
        {"ID": 2, "NAME": None},
    ]


def test_a_query_that_fails_amid_its_rows_raises(server: StandInKsqldb, client: KsqlClient) -> None:
    server.rows = [
        {"queryId": "q", "columnNames": ["ID"], "columnTypes": ["BIGINT"]},
        [1],
        {"status": "error", "error_code": 50000, "message": "out of memory"},
    ]
    with pytest.raises(KsqlServerError, match=r"out of memory \(error 50000\); statement: SELECT"):
        list(client.query("SELECT * FROM T;"))


def test_a_refusal_has_code_message_and_statement(server: StandInKsqldb, client: KsqlClient) -> None:
    with pytest.raises(KsqlServerError) as error:
        client.execute("CREATE STREAM A AS SELECT * FROM NONE;", lambda: False)
    assert (error.value.code, error.value.message) == (40001, "NONE does not exist.")
    assert error.value.statement == "CREATE STREAM A AS SELECT * FROM NONE;"
    assert error.value.url == server.url


def test_statements_are_carried_out_one_after_the_other(server: StandInKsqldb, client: KsqlClient) -> None:
    for name in ("A", "B"):
        answer = client.execute(f"CREATE STREAM {name} (X INT) WITH (KAFKA_TOPIC='a');", lambda: False)
    assert answer is not None
    assert answer.sequence == 2
    client.sources()
    assert [one.get("commandSequenceNumber") for one in server.bodies] == [None, 1, 2]


def test_if_not_exists_is_a_warning(client: KsqlClient) -> None:
    statement = "CREATE STREAM IF NOT EXISTS A (X INT) WITH (KAFKA_TOPIC='a');"
    client.execute(statement, lambda: False)
    answer = client.execute(statement, lambda: False)
    assert answer is not None
    assert "already exists" in answer.message


def test_credentials_are_sent_and_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with StandInKsqldb(("user", SECRET)) as server:
        with KsqlClient(server.url, "user", SECRET) as client:
            assert client.info().version
            assert SECRET not in repr(client)
        with (
            KsqlClient(server.url, "user", f"{SECRET}x") as client,
            pytest.raises(KsqlServerError, match=r"set username and password of \[ksql\]") as error,
        ):
            client.info()
    assert SECRET not in caplog.text + str(error.value) + repr(error.value)
    assert SECRET not in repr(load_settings({"ksql": {"username": "user", "password": SECRET}}))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"http://user:{SECRET}@host:8088", "appears in logs"),
        ("host:8088", "give the address"),
        ("ftp://host", "give the address"),
        ("http://", "give the address"),
        ("http://host:70000", "give the address"),
        ("http://host:8088\n", "give the address"),
        ("http://ho st:8088", "give the address"),
        ("http://host:8088/?sslmode=off", "give the address"),
        (f"http://{'a' * 70}.example", "give the address"),
    ],
)
def test_a_wrong_address_is_told_at_once(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        KsqlClient(url)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "answer",
    [
        *(None, [], 3, [None], [[]], [{"streams": [{}]}], [{"sourceDescription": {}}]),
        *({"KsqlServerInfo": []}, [{"commandStatus": 3}], [{"commandSequenceNumber": "x"}]),
        *([{"properties": [3]}], [{"warnings": 3}]),
    ],
)
def test_answers_of_another_server_are_told(
    server: StandInKsqldb, client: KsqlClient, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(server, "answer", lambda *_: (200, answer))
    for ask in (
        client.info,
        client.is_healthy,
        client.properties,
        lambda: client.describe("A"),
        lambda: client.execute("CREATE STREAM A;", lambda: False),
        lambda: list(client.query("SELECT * FROM A;")),
    ):
        with contextlib.suppress(KsqlServerError):
            ask()


def test_an_answer_of_another_form_says_so(
    server: StandInKsqldb, client: KsqlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "answer", lambda *_: (200, ["nginx"]))
    with pytest.raises(KsqlServerError, match=r"not of ksqlDB's form .*'nginx'.*the address of a ksqlDB"):
        client.info()


def test_another_address_is_not_followed_and_told_without_its_secrets() -> None:
    class Elsewhere(BaseHTTPRequestHandler):
        def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 - the name of http.server
            pass

        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"https://me:{SECRET}@login.example:8443/?token={SECRET}")
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as other:
        turn = threading.Thread(target=other.handle_request)
        turn.start()
        with (
            KsqlClient(f"http://127.0.0.1:{other.server_port}") as client,
            pytest.raises(KsqlServerError, match=r"leads to https://login.example:8443: give") as error,
        ):
            client.info()
        turn.join()
    assert SECRET not in str(error.value)


def test_nobody_there_is_told() -> None:
    with (
        KsqlClient("http://127.0.0.1:1", wait=lambda _: None) as client,
        pytest.raises(KsqlServerError, match=r"ksqlDB at http://127.0.0.1:1: the connection failed"),
    ):
        client.info()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ksqldb")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_tls_checks_the_certificate(certificate: Path) -> None:
    with StandInKsqldb(certificate=str(certificate)) as server:
        with KsqlClient(server.url, ca=str(certificate)) as client:
            assert client.info().version
        with KsqlClient(server.url, verify=False) as client:
            assert client.info().version
        with (
            KsqlClient(server.url) as client,
            pytest.raises(KsqlServerError, match=r"certificate.*; name the fi"),
        ):
            client.info()


def test_a_file_without_certificates_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    for given in (path, tmp_path / "none.pem"):
        with pytest.raises(ConfigError, match=r"ca of \[ksql\]: .* is no file of certificates"):
            KsqlClient("https://localhost:8088", ca=str(given))


def test_a_client_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ConfigError, match=r"needs httpx2: install 'statestore\[ksql\]'"):
        KsqlClient("http://localhost:8088")


def test_without_an_address_there_is_no_client() -> None:
    with pytest.raises(ConfigError, match=r"give url of \[ksql\]"):
        KsqlClient.of(load_settings(None).ksql)


@pytest.mark.slow
def test_the_library_and_its_deployer_are_imported_without_the_http_library() -> None:
    program = "import sys, statestore, statestore.deploy, statestore.cli; print('httpx2' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "DECIMAL", "parameters": {"precision": 9, "scale": 2}}, "DECIMAL(9, 2)"),
        ({"type": "STRING"}, "VARCHAR"),
        ({"type": "ARRAY", "memberSchema": {"type": "INTEGER"}}, "ARRAY<INT>"),
        ({"type": "MAP", "memberSchema": {"type": "BIGINT"}}, "MAP<VARCHAR, BIGINT>"),
        (
            {
                "type": "STRUCT",
                "fields": [
                    {"name": "A", "schema": {"type": "DATE"}},
                    {"name": "b", "schema": {"type": "DOUBLE"}},
                ],
            },
            "STRUCT<A DATE, `b` DOUBLE>",
        ),
    ],
)
def test_described_types_compare_with_declared_ones(schema: dict[str, Any], text: str) -> None:
    assert comparable_type(type_text(schema)) == comparable_type(text)
