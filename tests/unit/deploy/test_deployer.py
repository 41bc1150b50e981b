"""What a deployer does with a plan, on a server that answers as ksqlDB does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from statestore.deploy import Deployer, MemoryHistory, Plan
from statestore.errors import ConfigError, DeployError
from statestore.ksql.statements import SourceColumn, Statement
from statestore.testing.ksqldb import StandInKsqldb

MakeDeployer = Callable[..., Deployer]
MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(shop: Any, plan_of: MakePlan) -> Plan:
    return plan_of(shop.orders(), shop.large(), shop.totals())


def outcomes(report: Any) -> dict[str, str]:
    return {one.object: one.outcome for one in report.steps}


def test_the_first_apply_creates_and_the_second_changes_nothing(
    server: StandInKsqldb, history: MemoryHistory, deployer: MakeDeployer, plan: Plan
) -> None:
    first = deployer().apply(plan, dry_run=False)
    assert outcomes(first) == {"ORDERS": "created", "LARGE": "created", "TOTALS": "created"}
    assert server.catalog.executed == [one.text for one in plan.statements]
    assert sorted(server.catalog.sources) == ["LARGE", "ORDERS", "TOTALS"]
    records = history.read()
    assert [(one.object, one.statement, one.application) for one in records] == [
        (one.name, one.text, "shop") for one in plan.statements
    ]
    assert all(one.user and one.time and one.cluster == "kafka-1" for one in records)

    second = deployer()
    report = second.apply(plan, dry_run=False)
    assert str(report) == "skipped: ORDERS\nskipped: LARGE\nskipped: TOTALS"
    assert len(server.catalog.executed) == 3
    assert history.read() == records
    assert dict(second.metrics) | {"seconds": 0, "longest": 0} == {
        "applied": 0, "skipped": 3, "failed": 0, "seconds": 0, "longest": 0,
    }  # fmt: skip


def test_a_dry_run_is_the_default_and_sends_nothing(
    server: StandInKsqldb, history: MemoryHistory, deployer: MakeDeployer, plan: Plan
) -> None:
    report = deployer().apply(plan)
    assert report.dry_run
    assert set(outcomes(report).values()) == {"pending"}
    assert not server.catalog.executed
    assert not history.read()
    assert json.loads(json.dumps(report.to_dict()))["counts"] == {"pending": 3}


def test_queries_read_their_topics_from_the_beginning(
    server: StandInKsqldb, deployer: MakeDeployer, plan: Plan
) -> None:
    deployer().apply(plan, dry_run=False)
    sent = [one["streamsProperties"] for one in server.bodies if "CREATE" in one["ksql"]]
    assert sent == [{"ksql.streams.auto.offset.reset": "earliest"}] * 3


def test_a_changed_query_becomes_v2_and_so_does_all_downstream(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan, plan: Plan
) -> None:
    deployer().apply(plan, dry_run=False)
    changed = plan_of(shop.orders(), shop.large(200), shop.totals())
    report = deployer().apply(changed, dry_run=False)
    assert outcomes(report) == {"ORDERS": "skipped", "LARGE_V2": "created", "TOTALS_V2": "created"}
    assert server.catalog.executed[3:] == [
        "CREATE STREAM IF NOT EXISTS LARGE_V2 WITH (KAFKA_TOPIC='large_v2') AS SELECT * FROM ORDERS "
        "WHERE AMOUNT > 200 EMIT CHANGES;",
        "CREATE TABLE IF NOT EXISTS TOTALS_V2 WITH (KAFKA_TOPIC='totals_v2') AS SELECT CUSTOMER, "
        "SUM(AMOUNT) AS TOTAL FROM LARGE_V2 LARGE GROUP BY CUSTOMER EMIT CHANGES;",
    ]
    assert report.remaining == (
        "TOTALS_V2 stands beside TOTALS: wait until it has caught up, move the readers to TOTALS_V2 and "
        "topic totals_v2, then statestore ksql retire TOTALS",
        "LARGE_V2 stands beside LARGE: wait until it has caught up, move the readers to LARGE_V2 and topic "
        "large_v2, then statestore ksql retire LARGE",
    )
    assert set(outcomes(deployer().apply(changed, dry_run=False)).values()) == {"skipped"}
    assert len(server.catalog.executed) == 5
    back = deployer().apply(plan, dry_run=False)
    assert outcomes(back) == {"ORDERS": "skipped", "LARGE_V3": "created", "TOTALS_V3": "created"}


def test_a_changed_source_keeps_its_topic(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    deployer().apply(plan_of(shop.orders()), dry_run=False)
    deployer().apply(plan_of(shop.orders("REASON")), dry_run=False)
    assert server.catalog.sources["ORDERS_V2"].topic == "orders"
    assert len(server.catalog.sources["ORDERS_V2"].columns) == 3


def test_a_stream_over_the_topic_of_a_query_follows_it(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    changes = Statement(
        "CREATE STREAM IF NOT EXISTS CHANGES (CUSTOMER STRING KEY, TOTAL DECIMAL(9, 2)) "
        "WITH (KAFKA_TOPIC='totals', VALUE_FORMAT='JSON');",
        "create stream",
        "CHANGES",
        ("TOTALS",),
        topic="totals",
    )
    deployer().apply(plan_of(shop.orders(), shop.large(), shop.totals(), changes), dry_run=False)
    deployer().apply(plan_of(shop.orders(), shop.large(7), shop.totals(), changes), dry_run=False)
    assert server.catalog.sources["TOTALS_V2"].topic == "totals_v2"
    assert server.catalog.sources["CHANGES_V2"].topic == "totals_v2"


def test_retire_is_a_command_of_its_own(
    server: StandInKsqldb,
    history: MemoryHistory,
    deployer: MakeDeployer,
    shop: Any,
    plan_of: MakePlan,
    plan: Plan,
) -> None:
    deployer().apply(plan, dry_run=False)
    deployer().apply(plan_of(shop.orders(), shop.large(200), shop.totals()), dry_run=False)
    with pytest.raises(ConfigError, match="LARGE is read by CTAS_TOTALS_2: retire"):
        deployer().retire("shop", "LARGE", dry_run=False, allow_destructive=True)
    with pytest.raises(
        ConfigError, match=r"retire TOTALS is destructive \(TERMINATE CTAS_TOTALS_2; DROP TABLE"
    ):
        deployer().retire("shop", "TOTALS", dry_run=False)
    foreseen = deployer().retire("shop", "TOTALS")
    assert outcomes(foreseen) == {"TOTALS": "pending"}
    assert "TOTALS" in server.catalog.sources
    for name in ("TOTALS", "LARGE"):
        report = deployer().retire("shop", name, dry_run=False, allow_destructive=True)
        assert outcomes(report) == {name: "retired"}
    assert sorted(server.catalog.sources) == ["LARGE_V2", "ORDERS", "TOTALS_V2"]
    assert {one.object for one in history.read() if one.state == "applied"} == set(server.catalog.sources)
    with pytest.raises(ConfigError, match="NONE was not deployed by application 'shop'"):
        deployer().retire("shop", "NONE")


def test_a_statement_that_fails_leaves_what_was_applied_and_the_next_apply_goes_on(
    server: StandInKsqldb, history: MemoryHistory, deployer: MakeDeployer, plan: Plan
) -> None:
    server.refused = {"STREAM IF NOT EXISTS LARGE": "Topic large has another schema"}
    first = deployer()
    with pytest.raises(
        DeployError, match=r"LARGE: .*Topic large has another schema.*1 statements were app"
    ) as error:
        first.apply(plan, dry_run=False)
    assert outcomes(error.value.report) == {"ORDERS": "created", "LARGE": "failed", "TOTALS": "pending"}
    assert not error.value.report.ok
    assert first.metrics["failed"] == 1
    assert [one.object for one in history.read()] == ["ORDERS"]
    server.refused = {}
    assert outcomes(deployer().apply(plan, dry_run=False)) == {
        "ORDERS": "skipped", "LARGE": "created", "TOTALS": "created",
    }  # fmt: skip


def test_a_statement_is_waited_for_until_the_server_has_carried_it_out(
    server: StandInKsqldb, deployer: MakeDeployer, plan: Plan
) -> None:
    server.pending = 3
    report = deployer().apply(plan, dry_run=False)
    assert report.steps[0].message == "Stream created"
    assert sum(one.startswith("GET /status/stream/") for one in server.requests) == 9


def test_warnings_of_the_server_are_in_the_report(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    server.warnings = ["the topic has one partition"]
    (step,) = deployer().apply(plan_of(shop.orders()), dry_run=False).steps
    assert step.message == "Stream created; warning: the topic has one partition"


def test_what_is_there_already_is_compared_and_taken_over(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    server.catalog.run(shop.orders().text)
    assert outcomes(deployer().apply(plan_of(shop.orders()), dry_run=False)) == {"ORDERS": "found"}
    assert len(server.catalog.executed) == 1


def test_a_difference_names_column_both_types_and_the_remedy(
    server: StandInKsqldb, history: MemoryHistory, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    server.catalog.run(shop.orders().text.replace("AMOUNT DECIMAL(9, 2)", "AMOUNT DOUBLE, NOTE STRING"))
    with pytest.raises(DeployError) as error:
        deployer().apply(plan_of(shop.orders("REASON")), dry_run=False)
    faults = error.value.__cause__.faults  # type: ignore[union-attr]
    assert [fault.partition(":")[2].partition(":")[0] for fault in faults] == [
        " column AMOUNT is DOUBLE on the server, but DECIMAL(9, 2) is declared",
        " column REASON is missing on the server, but STRING is declared",
        " column NOTE is STRING on the server, but missing is declared",
    ]
    assert "change the declaration" in faults[0]
    assert not history.read()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("TABLE", "ORDERS is a TABLE on the server, but declared as a STREAM"),
        ("STREAM", "ORDERS has topic 'others' on the server, but 'orders' is declared"),
    ],
)
def test_another_kind_or_topic_is_told(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan, kind: str, says: str
) -> None:
    server.catalog.run(shop.orders().text.replace("'orders'", "'others'").replace("STREAM", kind))
    with pytest.raises(DeployError, match=says):
        deployer().apply(plan_of(shop.orders()), dry_run=False)


def test_a_table_that_no_query_fills_is_not_taken_for_the_plans(
    server: StandInKsqldb, deployer: MakeDeployer, plan: Plan
) -> None:
    server.catalog.run(
        "CREATE TABLE TOTALS (CUSTOMER STRING PRIMARY KEY, TOTAL DECIMAL(9,2)) WITH (KAFKA_TOPIC='totals');"
    )
    with pytest.raises(DeployError, match="TOTALS is on the server, but no query writes to it"):
        deployer().apply(plan, dry_run=False)


@pytest.mark.parametrize(
    ("version", "properties", "says"),
    [
        ("0.29.0", {"ksql.suppress.enabled": "false"}, "is disabled on this server"),
        ("0.21.0", {}, r"version 0.21.0\): it takes version 0.28"),
        ("7.1.2-1", {}, "it takes version 7.3"),
        ("", {}, "version unknown"),
    ],
)
def test_a_server_without_emit_final_is_refused_before_anything_is_sent(
    server: StandInKsqldb,
    deployer: MakeDeployer,
    shop: Any,
    plan_of: MakePlan,
    version: str,
    properties: dict[str, str],
    says: str,
) -> None:
    server.version, server.catalog.properties = version, properties
    with pytest.raises(ConfigError, match=f"TOTALS: EMIT FINAL .*{says}"):
        deployer().apply(plan_of(shop.orders(), shop.large(), shop.totals("FINAL")), dry_run=False)
    assert not server.catalog.executed


def test_a_newer_server_that_does_not_list_the_property_is_trusted(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    server.version, server.catalog.properties = "7.6.0-0", {}
    assert deployer().apply(plan_of(shop.orders(), shop.large(), shop.totals("FINAL")), dry_run=False).ok


def test_what_neither_plan_nor_server_has_is_refused_before_anything_is_sent(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    with pytest.raises(
        ConfigError, match="LARGE needs ORDERS, which neither the plan makes nor the server has"
    ):
        deployer().apply(plan_of(shop.large()), dry_run=False)
    server.catalog.run(shop.orders().text)
    assert outcomes(deployer().apply(plan_of(shop.large()), dry_run=False)) == {"LARGE": "created"}


def test_a_replacement_in_place_is_destructive(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    def replacing(least: int) -> Any:
        one = shop.large(least)
        return replace(one, text=one.text.replace("CREATE STREAM IF NOT EXISTS", "CREATE OR REPLACE STREAM"))

    deployer().apply(plan_of(shop.orders(), replacing(1)), dry_run=False)
    changed = plan_of(shop.orders(), replacing(2))
    with pytest.raises(ConfigError, match=r"LARGE is changed in place .*allow_destructive=True"):
        deployer().apply(changed, dry_run=False)
    report = deployer().apply(changed, dry_run=False, allow_destructive=True)
    assert outcomes(report) == {"ORDERS": "skipped", "LARGE": "replaced"}
    assert outcomes(deployer().apply(changed, dry_run=False)) == {"ORDERS": "skipped", "LARGE": "skipped"}
    assert len(server.catalog.executed) == 3


def test_inserts_are_started_once_and_a_changed_one_makes_a_new_target(
    server: StandInKsqldb, history: MemoryHistory, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    def plan(reason: str) -> Plan:
        return plan_of(shop.orders("REASON"), shop.large(), shop.returns(reason))

    deployer().apply(plan("bad"), dry_run=False)
    deployer().apply(plan("bad"), dry_run=False)
    assert len(server.catalog.executed) == 3
    assert [one.state for one in history.read()] == ["applied"] * 3
    report = deployer().apply(plan("lost"), dry_run=False)
    assert [(one.object, one.outcome) for one in report.steps] == [
        ("ORDERS", "skipped"), ("LARGE_V2", "created"), ("LARGE_V2", "inserted"),
    ]  # fmt: skip
    assert server.catalog.executed[-1].startswith("INSERT INTO LARGE_V2 SELECT * FROM ORDERS WHERE")


def test_an_insert_that_left_the_plan_is_named_until_its_query_is_gone(
    server: StandInKsqldb, history: MemoryHistory, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    whole = plan_of(shop.orders("REASON"), shop.large(), shop.returns())
    less = plan_of(shop.orders("REASON"), shop.large())
    deployer().apply(whole, dry_run=False)
    (told,) = deployer().apply(less, dry_run=False).remaining
    assert told.endswith("its query still writes: end it on the server (TERMINATE INSERTQUERY_2;)")
    server.catalog.run("TERMINATE INSERTQUERY_2;")
    assert deployer().apply(less, dry_run=False).remaining == ()
    assert [one.state for one in deployer().status(whole)] == ["current", "current", "pending"]


def test_an_insert_whose_query_is_gone_is_started_again(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    plan = plan_of(shop.orders("REASON"), shop.large(), shop.returns())
    deployer().apply(plan, dry_run=False)
    server.catalog.run("TERMINATE INSERTQUERY_2;")
    assert [one.state for one in deployer().status(plan)] == ["current", "current", "missing"]
    report = deployer().apply(plan, dry_run=False)
    assert [one.outcome for one in report.steps] == ["skipped", "skipped", "inserted"]
    assert list(server.catalog.queries) == ["CSAS_LARGE_1", "INSERTQUERY_4"]
    assert deployer().apply(plan, dry_run=False).counts == {"skipped": 3}


def test_an_insert_that_the_server_took_and_does_not_run_is_not_in_the_history(
    server: StandInKsqldb,
    history: MemoryHistory,
    deployer: MakeDeployer,
    shop: Any,
    plan_of: MakePlan,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_of(shop.orders("REASON"), shop.large(), shop.returns())
    run = server.catalog.run
    monkeypatch.setattr(server.catalog, "run", lambda text: {} if text.startswith("INSERT") else run(text))
    with pytest.raises(DeployError, match="has no new query into LARGE"):
        deployer().apply(plan, dry_run=False)
    monkeypatch.undo()
    assert deployer().apply(plan, dry_run=False).counts == {"skipped": 2, "inserted": 1}


def test_two_versions_never_write_to_one_topic(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    orders = shop.orders("REASON")
    out = replace(orders, text=orders.text.replace("ORDERS", "OUT").replace("'orders'", "'out'"))
    out = replace(out, name="OUT", topic="out")
    filled = Statement("INSERT INTO OUT SELECT * FROM LARGE;", "insert into", "OUT", ("LARGE",))
    deployer().apply(plan_of(orders, out, shop.large(), filled), dry_run=False)
    changed = plan_of(orders, out, shop.large(200), filled)
    executed = len(server.catalog.executed)
    with pytest.raises(ConfigError, match=r"both would write to topic 'out'.*ksql retire OUT\)"):
        deployer().apply(changed, dry_run=False)
    assert len(server.catalog.executed) == executed
    deployer().retire("shop", "OUT", dry_run=False, allow_destructive=True)
    assert deployer().apply(changed, dry_run=False).counts == {"skipped": 1, "created": 2, "inserted": 1}


def test_a_renamed_query_does_not_write_beside_the_old_one(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    deployer().apply(plan_of(shop.orders(), shop.large()), dry_run=False)
    big = replace(shop.large(), name="BIG", text=shop.large().text.replace("LARGE", "BIG"))
    server.catalog.learn([big])
    renamed = plan_of(shop.orders(), big)
    with pytest.raises(ConfigError, match=r"topic 'large' beside the query of LARGE.*ksql retire LARGE\)"):
        deployer().apply(renamed, dry_run=False)
    deployer().retire("shop", "LARGE", dry_run=False, allow_destructive=True)
    assert deployer().apply(renamed, dry_run=False).counts == {"skipped": 1, "created": 1}


@pytest.mark.parametrize(
    ("application", "says"), [("shop", "apply again"), ("other", "declare another name")]
)
def test_a_query_of_another_deployer_that_says_something_else_is_not_taken_over(
    deployer: MakeDeployer, shop: Any, application: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = deployer(), deployer()
    look = slow._looked

    def looked(plan: Plan) -> Any:
        seen = look(plan)  # and another deployer is faster
        fast.apply(Plan.of("shop", [shop.orders(), shop.large(100)]), dry_run=False)
        return seen

    monkeypatch.setattr(slow, "_looked", looked)
    with pytest.raises(DeployError, match=rf"made by another statement .*AMOUNT > 100.*{says}"):
        slow.apply(Plan.of(application, [shop.orders(), shop.large(200)]), dry_run=False)


def test_what_is_gone_from_the_server_is_created_again_with_what_fills_it(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan
) -> None:
    plan = plan_of(shop.orders("REASON"), shop.large(), shop.returns())
    deployer().apply(plan, dry_run=False)
    server.catalog.queries.clear()
    del server.catalog.sources["LARGE"]
    assert [one.state for one in deployer().status(plan)] == ["current", "missing", "missing"]
    report = deployer().apply(plan, dry_run=False)
    assert [one.outcome for one in report.steps] == ["skipped", "created", "inserted"]
    assert len(server.catalog.queries) == 2


def test_applications_do_not_know_each_other(
    server: StandInKsqldb, deployer: MakeDeployer, plan: Plan
) -> None:
    deployer().apply(plan, dry_run=False)
    other = replace(plan, application="other")
    assert set(outcomes(deployer().apply(other, dry_run=False)).values()) == {"found"}
    assert len(server.catalog.executed) == 3
    report = deployer().retire("shop", "TOTALS", dry_run=False, allow_destructive=True)
    assert report.remaining == ("TOTALS stays, since application other has it, too",)
    assert "TOTALS" in server.catalog.sources
    deployer().retire("other", "TOTALS", dry_run=False, allow_destructive=True)
    assert "TOTALS" not in server.catalog.sources


def test_status_and_diff_say_what_stands_where(
    server: StandInKsqldb, deployer: MakeDeployer, shop: Any, plan_of: MakePlan, plan: Plan
) -> None:
    assert {one.state for one in deployer().status(plan)} == {"pending"}
    deployer().apply(plan, dry_run=False)
    assert {one.state for one in deployer().status(plan)} == {"current"}
    assert deployer().diff(plan) == ""
    stopped = server.catalog.queries.pop("CTAS_TOTALS_2")
    assert "no query writes to it" in deployer().status(plan)[2].detail
    server.catalog.queries[stopped.id] = stopped
    server.catalog.sources["ORDERS"].columns = (SourceColumn("ID", "INTEGER", True),)
    changed = plan_of(shop.orders(), shop.large(200), shop.totals())
    found = {one.object: one for one in deployer().status(changed)}
    assert {name: one.state for name, one in found.items()} == {
        "ORDERS": "different",
        "LARGE_V2": "changed",
        "TOTALS_V2": "changed",
        "LARGE": "superseded",
        "TOTALS": "superseded",
    }
    assert "column ID is INTEGER (key) on the server, but BIGINT (key) is declared" in found["ORDERS"].detail
    difference = deployer().diff(changed)
    assert "-WHERE AMOUNT > 100\n" in difference
    assert "+WHERE AMOUNT > 200\n" in difference


def test_a_query_that_was_ended_by_hand_is_not_passed_over(
    server: StandInKsqldb, deployer: MakeDeployer, plan: Plan
) -> None:
    deployer().apply(plan, dry_run=False)
    ended = server.catalog.queries.pop("CTAS_TOTALS_2")
    with pytest.raises(DeployError, match=r"TOTALS: .*no query writes to it") as error:
        deployer().apply(plan, dry_run=False)
    assert outcomes(error.value.report) == {"ORDERS": "skipped", "LARGE": "skipped", "TOTALS": "failed"}
    server.catalog.queries[ended.id] = ended
    assert deployer().apply(plan, dry_run=False).counts == {"skipped": 3}
