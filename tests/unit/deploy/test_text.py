"""Normal form, hash and other names of statements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore.deploy.text import emits_final, normalised, renamed, sha256_of, statement_fault, tokens


def test_white_space_and_comments_do_not_change_the_hash() -> None:
    text = "CREATE STREAM A AS\n\tSELECT *  -- all of it\n FROM B /* the\nsource */ ;"
    assert normalised(text) == "CREATE STREAM A AS SELECT * FROM B ;"
    assert sha256_of(text) == sha256_of("CREATE STREAM A AS SELECT * FROM B ;")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT 'a  b';", "SELECT 'a b';"),
        ("SELECT 'a--b';", "SELECT 'a';"),
        ("SELECT 'it''s  /* so */';", "SELECT 'it''s ';"),
        ("SELECT `a  b`;", "SELECT `a b`;"),
        ('SELECT "--";', 'SELECT "-";'),
    ],
)
def test_literals_and_quoted_names_are_untouched(one: str, other: str) -> None:
    assert normalised(one) == one
    assert sha256_of(one) != sha256_of(other)


@given(st.text(alphabet=st.sampled_from("aB1'`\"-/* \n;.,()\x00é")))
def test_tokens_are_the_whole_text_and_the_normal_form_is_its_own(text: str) -> None:
    assert "".join(token.text for token in tokens(text)) == text
    assert normalised(normalised(text)) == normalised(text)


def test_emit_final_is_told_from_a_text_that_says_so() -> None:
    assert emits_final("SELECT 1 FROM A emit\n final;")
    assert not emits_final("SELECT 'EMIT FINAL' FROM A EMIT CHANGES; -- EMIT FINAL")


@pytest.mark.parametrize("text", ["", "SELECT 1", "SELECT 1; DROP STREAM A;", ";", "-- nothing;"])
def test_what_is_not_one_statement_is_told(text: str) -> None:
    assert (statement_fault(text) is None) == (text == ";")


def test_sources_are_renamed_and_keep_their_old_names_as_aliases() -> None:
    text = (
        "CREATE TABLE IF NOT EXISTS T WITH (KAFKA_TOPIC = 't', X = 't') AS SELECT A.X, 'FROM A' FROM A "
        "JOIN `b` AS B2 ON A.X = B2.X WHERE A.X IS DISTINCT FROM T EMIT CHANGES;"
    )
    assert renamed(text, {"A": "A_V2", "b": "b_v3", "T": "T_V2"}, ("t", "t_v2")) == (
        "CREATE TABLE IF NOT EXISTS T_V2 WITH (KAFKA_TOPIC = 't_v2', X = 't') AS SELECT A.X, 'FROM A' FROM "
        "A_V2 A JOIN `b_v3` AS B2 ON A.X = B2.X WHERE A.X IS DISTINCT FROM T EMIT CHANGES;"
    )


@given(st.text(alphabet=st.sampled_from("AB'`\"-/* \n;.,()=")))
def test_only_names_of_sources_are_renamed(text: str) -> None:
    statement = f"CREATE STREAM X AS SELECT {text} FROM"
    assert renamed(statement, {"A": "A_V2", "B": "B_V2", "X": "X_V2"}) == statement.replace("X", "X_V2", 1)


def test_insert_into_is_renamed() -> None:
    assert renamed("INSERT INTO a SELECT * FROM b;", {"A": "A_V2"}) == "INSERT INTO A_V2 SELECT * FROM b;"


def test_a_name_that_is_a_keyword_is_quoted() -> None:
    text = renamed("CREATE STREAM COPY AS SELECT * FROM ORDERS;", {"COPY": "VALUES", "ORDERS": "TOPIC"})
    assert text == "CREATE STREAM `VALUES` AS SELECT * FROM `TOPIC` ORDERS;"
