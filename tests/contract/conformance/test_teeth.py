"""The conformance suite has teeth: each backend of ``broken.py`` fails the test meant for it."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BROKEN = Path(__file__).with_name("broken.py")
MACHINE = "test_behaves_as_a_dict_under_any_sequence_of_calls"

CAUGHT_BY = {
    "StopIncluded": "test_start_is_included_and_stop_excluded",
    "ReverseExcludesStart": "test_start_is_included_and_stop_excluded",
    "ReverseIgnoresBounds": "test_bounds_need_not_be_keys",
    "EmptyStartIsAll": "test_start_at_or_after_stop_is_empty",
    "OneTooMany": "test_limit_bounds_the_number_of_pairs",
    "LimitZeroIsAll": "test_limit_bounds_the_number_of_pairs",
    "SignedOrder": "test_scan_is_in_unsigned_byte_order",
    "LazyScan": "test_a_scan_sees_the_moment_of_its_call",
    "LiveSnapshot": "test_a_snapshot_does_not_see_later_writes",
    "PutsBeforeDeletes": "test_deletes_are_applied_before_puts",
    "FirstPutWins": "test_of_two_puts_of_one_key_the_later_wins",
    "SortsTheCallersList": "test_the_lists_of_a_batch_stay_the_callers",
    "EmptyIsAbsent": "test_an_empty_value_is_not_an_absent_one",
    "GetManySorts": "test_get_many_keeps_the_order_of_its_keys",
    "SilentEnd": "test_a_live_scan_of_a_closed_backend_says_so",
    "CloseWaitsForScans": "test_close_gives_the_directory_back_under_live_readers",
    "LosesTheLastWrite": "test_what_was_written_without_a_changelog_is_there_after_a_reopen",
    "EmptyCheckpoint": "test_a_checkpoint_is_a_store_of_its_own",
    "CompactionDropsEmptyValues": "test_compaction_keeps_the_content",
    "RangeIncludesStop": "test_a_range_goes_as_a_whole_and_nothing_else_does",
    "RangeTurnsRound": "test_a_range_goes_as_a_whole_and_nothing_else_does",
}
"""The example test that must fail; the state machine must fail on each of these too."""

BEYOND_THE_MACHINE = {
    "PiecemealBatch": "test_a_refused_batch_leaves_nothing_and_can_be_given_again",
    "SilentAfterClose": "test_every_call_on_a_closed_backend_says_so",
    "SharedCheckpoint": "test_a_checkpoint_is_a_store_of_its_own",
    "CheckpointOverwrites": "test_a_checkpoint_never_writes_over_anything",
    "LoadKeepsDeleted": "test_a_load_does_what_a_write_does",
    # One case of it, since this backend writes its file for each row.
    "PiecemealLoad": "test_a_load_that_fails_leaves_nothing_and_can_be_given_again[False-others0]",
    "RunByRunLoad": "test_a_load_that_fails_leaves_nothing_and_can_be_given_again",
    "LoadForgetsOtherRuns": "test_a_load_does_what_a_write_does",
    "LoadEndsAtAnEmptyRun": "test_a_load_of_little_or_nothing",
    "LoadAppendsOnly": "test_runs_come_in_any_order_and_lie_anywhere",
    "LoadIgnoresClose": "test_every_call_on_a_closed_backend_says_so",
    "RangeIsForgotten": "test_a_range_stays_deleted",
    "RangeHalfDone": "test_a_large_range_goes_from_its_start",
    "RangeFromTheEnd": "test_a_large_range_goes_from_its_start",
    "DestroyKeepsFiles": "test_destroy_removes_everything",
    "BatchInTwoSteps": "test_a_killed_store_comes_back_as_of_one_of_its_writes",
    "SavesAtFlush": "test_a_killed_store_comes_back_as_of_one_of_its_writes",
    "SavesInPlace": "test_a_killed_store_comes_back_as_of_one_of_its_writes",
    "BareErrors": "test_a_damaged_file_gives_an_error_or_what_was_once_there",
    "StartsAnew": "test_files_that_are_no_store_are_an_error",
    "ForkUnaware": "test_every_call_in_a_forked_child_is_refused",
}
"""The same for what a sequence of correct calls in one thread does not show."""


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The tests that failed, by the name of the backend; ``Sound`` runs all of them."""
    wanted = CAUGHT_BY | BEYOND_THE_MACHINE
    chosen = [f"{BROKEN}::TestSound"]
    chosen += [f"{BROKEN}::Test{name}::{test}" for name, test in wanted.items()]
    chosen += [f"{BROKEN}::Test{name}::{MACHINE}" for name in CAUGHT_BY]
    report = tmp_path_factory.mktemp("teeth") / "report.xml"
    run = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
            *chosen,
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    failed: dict[str, set[str]] = defaultdict(set)
    for case in ElementTree.parse(report).iter("testcase"):
        assert case.find("error") is None, f"{case.get('classname')}.{case.get('name')} did not get to run"
        backend = case.get("classname", "").rpartition(".Test")[2]
        failed[backend] |= (
            {case.get("name", "").partition("[")[0]} if case.find("failure") is not None else set()
        )
    return failed


def test_each_broken_backend_is_listed_here(failures: dict[str, set[str]]) -> None:
    defined = {
        line.removeprefix("class ").partition("(")[0]
        for line in BROKEN.read_text().splitlines()
        if line.startswith("class ") and line.endswith("(Sound):")
    }
    assert defined == CAUGHT_BY.keys() | BEYOND_THE_MACHINE.keys()
    assert failures.keys() == defined | {"Sound"}


def test_the_backend_without_a_defect_passes(failures: dict[str, set[str]]) -> None:
    assert failures["Sound"] == set()


@pytest.mark.parametrize("backend", [*CAUGHT_BY, *BEYOND_THE_MACHINE])
def test_the_examples_catch(failures: dict[str, set[str]], backend: str) -> None:
    assert (CAUGHT_BY | BEYOND_THE_MACHINE)[backend].partition("[")[0] in failures[backend]


@pytest.mark.parametrize("backend", CAUGHT_BY)
def test_the_state_machine_catches(failures: dict[str, set[str]], backend: str) -> None:
    assert MACHINE in failures[backend]
