"""The one statement by which a revision is made in PostgreSQL, and what it is given.

One, so that it is one way to the database and back: whoever waits for the counter's row is not kept waiting by the
network, and no more work is done for a commit than a commit is.
"""

from typing import Any, Final

from config_server.resources import Operation, StoredChange
from config_server.store.base import AnsweredRequest, Commit
from config_server.store.postgres_peers import CHANNEL
from config_server.store.rows import ENTRY_COLUMNS, micros, row_of

_ENTRY: Final = ", ".join(ENTRY_COLUMNS)
_REPLACED: Final = ", ".join(f"{column} = EXCLUDED.{column}" for column in ENTRY_COLUMNS[2:])
_CHANGE: Final = f"ordinal, operation, {_ENTRY}"
# A list of each column of the changes.
_LISTS: Final = (
    "$9::integer[], $10::integer[], $11::integer[], $12::text[], $13::bytea[], $14::bytea[], $15::bigint[],"
    " $16::bigint[], $17::bigint[], $18::bigint[], $19::text[], $20::text[]"
)
_ANSWER_AGAIN: Final = """
    ON CONFLICT (request_id)
    DO UPDATE SET digest = EXCLUDED.digest, response = EXCLUDED.response, time = EXCLUDED.time"""

SAVE_REQUEST: Final = f"INSERT INTO requests VALUES ($1, $2, $3, $4) {_ANSWER_AGAIN}"

# All hangs on the first part: whoever holds the counter's row decides the order of commits, and nothing is done, and no
# row given, unless it stands where it was planned for. Others are told when this is committed, and not if it is not.
COMMIT: Final = f"""
  WITH moved AS (
    UPDATE meta SET revision = revision + 1 WHERE revision = $1 RETURNING revision AS at_revision
  ), logged AS (
    INSERT INTO revisions SELECT at_revision, $2, $3, $4 FROM moved
  ), answered AS (
    INSERT INTO requests SELECT $5, $6, $7, $8 FROM moved WHERE $5::text IS NOT NULL {_ANSWER_AGAIN}
  ), change AS (
    SELECT * FROM moved, unnest({_LISTS}) AS given ({_CHANGE})
  ), kept AS (
    INSERT INTO changes (at_revision, {_CHANGE}) SELECT at_revision, {_CHANGE} FROM change
  ), written AS (
    INSERT INTO resources ({_ENTRY}) SELECT {_ENTRY} FROM change WHERE operation <> {int(Operation.DELETED)}
    ON CONFLICT (kind, name) DO UPDATE SET {_REPLACED}
  ), gone AS (
    DELETE FROM resources USING change
    WHERE operation = {int(Operation.DELETED)} AND resources.kind = change.kind AND resources.name = change.name
  )
  SELECT pg_notify('{CHANNEL}', at_revision::text) FROM moved"""


def commit_arguments(commit: Commit) -> tuple[Any, ...]:
    """Those of `COMMIT`."""
    made = (micros(commit.time), text(commit.author), text(commit.message))
    request = (None,) * 4 if commit.request is None else request_row(commit.request)
    rows = [_change_row(ordinal, change) for ordinal, change in enumerate(commit.changes)]
    return (commit.base_revision, *made, *request, *zip(*rows, strict=True))


def request_row(request: AnsweredRequest) -> tuple[Any, ...]:
    return (text(request.request_id), request.digest, request.response, micros(request.time))


def text(written: str) -> str:
    """What people write, without the one character that PostgreSQL cannot keep."""
    return written.replace("\0", "")


def _change_row(ordinal: int, change: StoredChange) -> tuple[Any, ...]:
    *columns, author, set_name = row_of(change.entry)
    return (ordinal, int(change.operation), *columns, text(author), set_name)
