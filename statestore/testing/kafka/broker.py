"""A real Apache Kafka broker for tests: one JVM on loopback, its data in a temporary directory.

::

    with KafkaBroker() as broker:
        broker.create_topic("orders")
        ...                              # any client, at broker.bootstrap

Needs Java 17, and Maven the first time (:mod:`.maven`); ``BrokerUnavailableError`` says what is missing.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException

from statestore.testing.kafka.maven import BrokerUnavailableError, find_java, kafka_jars
from statestore.testing.kafka.prepared import CLASSES, DATA, copy_data, new_id, prepared
from statestore.testing.kafka.topics import FILLER_KEY, Broker, ExternalBroker

__all__ = [
    "Broker",
    "BrokerUnavailableError",
    "ExternalBroker",
    "EXTERNAL_VARIABLE",
    "FILLER_KEY",
    "KafkaBroker",
    "external_broker",
]

EXTERNAL_VARIABLE = "STATESTORE_TEST_KAFKA"

_START_SECONDS = 120
_STOP_SECONDS = 60

# Below the ports that the system gives to outgoing connections: a client that retries a dead broker's port
# out of that range can be given the very port as its own, and then talks to itself.
_PORTS = range(20_000, 32_000)

# Everything after the replication factors saves seconds: fewer internal topics' partitions, no waiting for
# group members, a cleaner that looks often, and a killed broker's registration that ends soon.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{bootstrap},PROXIED://{proxied},CONTROLLER://127.0.0.1:{controller_port}{sasl}
advertised.listeners=PLAINTEXT://{bootstrap},PROXIED://127.0.0.1:{proxy_port}{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=200
log.initial.task.delay.ms=100
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=750
"""

# A second address, which asks for a name and a password. The first one lets in everybody as User:ANONYMOUS.
_SASL_PROPERTIES = """\
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.sasl.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required {users};
listener.name.sasl.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;
"""

# Waits for the end of its standard input, a pipe which the system closes when this process dies, however it
# does; then no JVM and no data are left.
_GUARD = 'cat; kill -9 "$1"; rm -rf -- "$2"'


class KafkaBroker(Broker):
    """A broker that this process starts, stops and kills; entered as a context it runs, left it is gone.

    It keeps its address and its data from one start to the next. Its end does not depend on a clean exit: it
    is killed when this process dies. The operations on its topics are those of :class:`Broker`.

    ``properties`` are added to those of ``server.properties``, or take their places. ``users``, passwords by
    name, are let in at ``sasl_bootstrap`` by SASL/PLAIN, and those that an administrator adds later by
    SCRAM-SHA-256.
    """

    def __init__(
        self, properties: Mapping[str, str] | None = None, *, users: Mapping[str, str] | None = None
    ) -> None:
        self._java = find_java()
        self._jars = kafka_jars()
        self._jvm_options: list[str] = []
        port, controller_port, sasl_port, proxied_port, self.proxy_port = free_ports(5)
        super().__init__(f"127.0.0.1:{port}")
        self.proxied = f"127.0.0.1:{proxied_port}"
        """The address of the listener for a :class:`.proxy.Proxy`; clients go on at ``proxy_port``."""
        self.sasl_bootstrap = f"127.0.0.1:{sasl_port}"
        """The address that asks for a name and a password, where there are ``users``."""
        self._home = Path(tempfile.mkdtemp(prefix="statestore-kafka-"))
        self._config = self._home / "server.properties"
        lines = _PROPERTIES.format(
            bootstrap=self.bootstrap,
            proxied=self.proxied,
            proxy_port=self.proxy_port,
            sasl=f",SASL://{self.sasl_bootstrap}" if users is not None else "",
            controller_port=controller_port,
            data=self._home / "data",
        )
        # Of a property given twice the last counts.
        if users is not None:
            lines += _SASL_PROPERTIES.format(
                modules="org.apache.kafka.common.security",
                users=" ".join(f'user_{name}="{password}"' for name, password in users.items()),
            )
        lines += "".join(f"{name}={value}\n" for name, value in (properties or {}).items())
        self._config.write_text(lines)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process id of the running JVM, ``None`` while there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the broker and return when it serves clients. After a ``kill`` this takes some 3 s longer.

        Raises ``RuntimeError`` with the end of the broker's log where it does not start.
        """
        if self._process is not None:
            raise RuntimeError(f"the broker at {self.bootstrap} is running already")
        if not (self._home / "data").exists():
            self._make_data()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(
                    *self._jvm_options, "-Xmx512m", "-Dlog4j2.level=WARN", "kafka.Kafka", str(self._config)
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt from the terminal is for the tests, not for the broker
            )
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "guard", str(self._process.pid), str(self._home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_until_serving(self._process)

    def stop(self) -> None:
        """Shut the broker down as an administrator would, and return when it has ended."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker at once, without any chance to write or to say goodbye (``SIGKILL``)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the broker and start it again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Kill the broker if it runs, and delete its data. Idempotent."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self._home / "broker.log"

    def _command(self, *arguments: str) -> list[str]:
        return [self._java, "-cp", f"{self._jars}/*", *arguments]

    def _make_data(self) -> None:
        folder = prepared(self._java, self._jars, self._prepare)
        copy_data(folder, self._home / "data")
        classes = folder / CLASSES
        self._jvm_options = [f"-XX:SharedArchiveFile={classes}"] if classes.exists() else []

    def _prepare(self, folder: Path) -> None:
        """Leave in ``folder`` what other brokers begin with: run this one first, once, with nothing in it."""
        self._format()
        shutil.copytree(self._home / "data", folder / DATA)
        self._jvm_options = [f"-XX:ArchiveClassesAtExit={folder / CLASSES}"]
        self.start()
        self.create_topic("prepared")
        self.produce("prepared", [(b"key", b"value")])
        self.stop()
        shutil.rmtree(self._home / "data")

    def _format(self) -> None:
        command = self._command(
            "-Xmx128m", "kafka.tools.StorageTool", "format", "-t", new_id(), "-c", str(self._config)
        )
        run = subprocess.run(command, capture_output=True, text=True, timeout=_START_SECONDS, check=False)
        if run.returncode != 0:
            raise RuntimeError(f"Kafka cannot format {self._home}:\n{run.stdout}{run.stderr}")

    def _wait_until_serving(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"Kafka ended with status {process.returncode}:\n{self._log_end()}")
            if _listens(self.bootstrap) and self._answers():
                return
            time.sleep(0.05)
        raise RuntimeError(
            f"Kafka does not serve {self.bootstrap} after {_START_SECONDS} s:\n{self._log_end()}"
        )

    def _answers(self) -> bool:
        try:
            return bool(self._admin.list_topics(timeout=1).brokers)
        except KafkaException:  # listening, but not yet registered with its controller
            return False

    def _log_end(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    def _end(self, how: signal.Signals) -> None:
        process, guard = self._process, self._guard
        if process is None or guard is None:
            raise RuntimeError(f"the broker at {self.bootstrap} is not running")
        self.__dict__.pop("_admin", None)  # a client without its broker logs each attempt to reach it
        process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"Kafka did not stop in {_STOP_SECONDS} s:\n{self._log_end()}") from None
        finally:
            guard.kill()
            guard.communicate()
            self._process = self._guard = None


def external_broker() -> ExternalBroker | None:
    """Return the broker named by ``STATESTORE_TEST_KAFKA`` (``host:port``), ``None`` where it is not set."""
    address = os.environ.get(EXTERNAL_VARIABLE)
    return ExternalBroker(address) if address else None


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Return ports of loopback where nobody listens, and which no outgoing connection is given."""
    found: list[int] = []
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} free ports among 100 of {_PORTS.start} to {_PORTS.stop - 1}")
