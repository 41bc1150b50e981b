"""Deploying KSQL: plans, the history of what was applied, and ksqlDB's HTTP API.

The server runs the queries; this package only has them created, each once. A file imports only from files
above it::

    text.py            tokens of a statement: normal form, hash, other names
    plan.py            Plan: the statements of an application, and their file
    answers.py         what the server answers, as values
    client.py          KsqlClient: requests, retries, lost answers
    history.py         KafkaHistory: a record of each applied statement
    steps.py           what is to be done: skip, create, replace, insert; versions
    schema.py          whether the server has what was declared
    diff.py            what changed, for people
    report.py          what was done
    recorder.py        Recorder: records and intents of one application
    inserts.py         INSERT INTO: told by the queries that were there before
    deployer.py        Deployer
"""

from statestore.deploy.client import KsqlClient
from statestore.deploy.deployer import Deployer
from statestore.deploy.history import History, HistoryRecord, KafkaHistory, MemoryHistory
from statestore.deploy.plan import Plan, PlannedStatement
from statestore.deploy.report import DeployMetrics, ObjectStatus, Report, StepReport

__all__ = [
    "DeployMetrics",
    "Deployer",
    "History",
    "HistoryRecord",
    "KafkaHistory",
    "KsqlClient",
    "MemoryHistory",
    "ObjectStatus",
    "Plan",
    "PlannedStatement",
    "Report",
    "StepReport",
]
