"""The checker finds each way in which a server can break its word."""

from dataclasses import replace

import pytest

from tests.config_server.faults.history import History, Read, Revision, Watch, Write, violations
from tests.config_server.faults.model import Ask, Changes, Item, State


def pair(number: int, token: str, revision: int) -> dict[str, Item | None]:
    return {f"{letter}{number}": Item(token, "", revision) for letter in "ab"}


def write(token: str, number: int, revision: int | None, *, at: float | None = None, reason: str = "") -> Write:
    """Of both of a pair of names, answered at the time of its revision's number."""
    ask = Ask(token=token, upserts={f"{letter}{number}": token for letter in "ab"})
    begin = float(revision or 0) if at is None else at
    return Write(ask=ask, begin=begin, end=begin + 0.5, revision=revision, response=b"first", reason=reason)


def good() -> History:
    """Three writes, the third of what the first wrote; a read, and a watch from the beginning."""
    log = [
        Revision(1, "t1", pair(1, "t1", 1)),
        Revision(2, "t2", pair(2, "t2", 2)),
        Revision(3, "t3", pair(1, "t3", 3)),
    ]
    return History(
        writes=[write("t1", 1, 1), write("t2", 2, 2), write("t3", 1, 3)],
        reads=[Read(begin=4.0, end=4.5, revision=3, state=state_at_3())],
        watches=[Watch(after_revision=0, seen=[(each.number, each.changes) for each in log])],
        log=log,
    )


def state_at_3() -> dict[str, Item]:
    return {name: Item("t3", "", 3) for name in ("a1", "b1")} | {name: Item("t2", "", 2) for name in ("a2", "b2")}


def made(history: History, token: str, changes: Changes) -> None:
    """Another revision in the log, that the watch saw too."""
    history.log.append(Revision(len(history.log) + 1, token, changes))
    history.watches[0].seen.append((len(history.log), changes))


def asked(history: History, ask: Ask, *, revision: int | None = None, reason: str = "") -> None:
    """Another write, after all others."""
    history.writes.append(Write(ask=ask, begin=9.0, end=9.5, revision=revision, reason=reason))


def test_a_good_history() -> None:
    assert violations(good()) == []


def test_an_acknowledged_write_that_is_lost() -> None:
    history = good()
    del history.log[2], history.watches[0].seen[2]
    assert "t3 was acknowledged as revision 3, which is of None" in violations(history)


def test_an_acknowledged_write_that_another_has_the_revision_of() -> None:
    history = good()
    history.writes[1] = replace(history.writes[1], revision=1)
    assert "t2 was acknowledged as revision 1, which is of t1" in violations(history)


def test_a_write_that_is_half_applied() -> None:
    history = good()
    history.log[1] = Revision(2, "t2", {"a2": Item("t2", "", 2)})
    assert any("t2 was half applied in revision 2" in each for each in violations(history))


def test_a_write_that_is_applied_twice() -> None:
    history = good()
    made(history, "t3", pair(1, "t3", 4))
    assert "t3 was applied in revision 3 and again in 4" in violations(history)


def test_a_write_of_nobody_and_one_that_was_refused() -> None:
    history = good()
    made(history, "t5", pair(5, "t5", 4))
    assert violations(history) == ["revision 4 is of 't5', which nobody wrote"]
    history.writes.append(write("t5", 5, None, at=9, reason="STORE_UNAVAILABLE"))
    assert violations(history) == ["t5 was refused, and is in revision 4"]
    history.writes[-1] = write("t5", 5, None, at=9)
    assert violations(history) == [], "what nobody knows may be so or not"
    del history.log[3], history.watches[0].seen[3]
    assert violations(history) == []


def test_a_gap() -> None:
    history = good()
    history.log[2] = replace(history.log[2], number=4)
    assert "revisions have gaps or come twice: [1, 2, 4]" in violations(history)


def test_an_acknowledged_write_that_changes_nothing() -> None:
    history = good()
    history.writes.append(write("t4", 1, 3, at=9))
    assert "t4 was acknowledged as revision 3, which is of t3" in violations(history)
    history.writes[-1] = replace(history.writes[-1], ask=Ask(token="t4", upserts={"a1": "t3"}))
    assert violations(history) == []


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (Ask(token="t4", upserts={"c": "t4"}, base_revision=2), "BASE_REVISION_MISMATCH"),
        (Ask(token="t4", upserts={"c": "t4", "a1": "t4"}, held={"a1": 1}), "ETAG_MISMATCH"),
        (Ask(token="t4", upserts={"c": "t4"}, held={"c": 1}), "RESOURCE_NOT_FOUND"),
        (Ask(token="t4", upserts={"c": "t4"}, deletes=["d"]), "RESOURCE_NOT_FOUND"),
        (Ask(token="t4", upserts={"c": "t4", "a1": "t4"}, new=["a1"]), "RESOURCE_EXISTS"),
    ],
)
def test_a_write_that_had_to_be_refused(ask: Ask, reason: str) -> None:
    history = good()
    asked(history, ask, reason=reason)
    assert violations(history) == []
    history.writes[-1] = replace(history.writes[-1], reason="", revision=4)
    made(history, "t4", {name: Item("t4", "", 4) for name in ask.upserts} | dict.fromkeys(ask.deletes))
    assert violations(history) == [f"t4 was applied in revision 4 in spite of {reason}"]


def test_a_write_that_had_to_be_done_and_was_refused() -> None:
    history = good()
    asked(history, Ask(token="t4", upserts={"a1": "t4"}, held={"a1": 3}), reason="ETAG_MISMATCH")
    assert violations(history) == ["t4 was refused for ETAG_MISMATCH, which was not so"]
    history.writes[-1] = replace(history.writes[-1], begin=1.2, end=1.4)
    assert violations(history) == [], "it was so before revision 3"


def test_deletes_and_prunes() -> None:
    history = good()
    asked(history, Ask(token="t4", upserts={"c": "t4", "d": "t4"}, set="files"), revision=4)
    made(history, "t4", {name: Item("t4", "files", 4) for name in "cd"})
    asked(history, Ask(token="t5", upserts={"c": "t4"}, deletes=["a1"], set="files", prune=True), revision=5)
    made(history, "t5", {"a1": None, "d": None})
    history.writes[-1] = replace(history.writes[-1], begin=10, end=11)
    assert violations(history) == []
    for half in ({"a1": None}, {"d": None}, {"a1": None, "d": None, "a2": None}):
        history.log[4] = Revision(5, "t5", half)
        assert any("t5 was half applied" in each for each in violations(history))


def test_a_repeated_write() -> None:
    history = good()
    history.writes.append(replace(history.writes[0], begin=9.0, end=9.5))
    assert violations(history) == [], "it is told again what it was told"
    history.writes[-1] = replace(history.writes[-1], response=b"other")
    assert any("t1 was answered differently" in each for each in violations(history))
    history.writes[-1] = replace(history.writes[-1], response=b"first", revision=3)
    assert any("t1 was answered differently" in each for each in violations(history))


def test_reads_that_show_the_past_or_what_never_was() -> None:
    history = good()
    at_2: State = {name: Item(f"t{name[1]}", "", int(name[1])) for name in ("a1", "b1", "a2", "b2")}
    history.reads[0] = replace(history.reads[0], revision=2, state=at_2)
    assert violations(history) == ["a read was told revision 2 after 3 had been told"]
    history.reads[0] = replace(history.reads[0], revision=3)
    (text,) = violations(history)
    assert text.startswith("a read of revision 3 showed what was not so")


def test_writes_that_are_told_the_past() -> None:
    history = good()
    history.writes[1] = replace(history.writes[1], begin=5, end=6)
    assert violations(history) == ["t2 was told revision 2 after 3 had been told"]


def test_reads_of_single_names() -> None:
    history = good()
    single = Read(begin=5, end=6, revision=3, state={"a1": Item("t3", "", 3)}, names=frozenset({"a1"}))
    missing = Read(begin=5, end=6, revision=None, state={}, names=frozenset({"a2"}))
    history.reads.append(single)
    assert violations(history) == []
    history.reads[-1] = replace(single, state={"a1": Item("t1", "", 1)})
    assert len(violations(history)) == 1
    history.reads[-1] = missing
    assert violations(history) == ["a read showed what was not so: {}"]
    history.reads[-1] = replace(missing, begin=0.5, end=0.6)
    assert violations(history) == []


def test_watches_with_a_gap_a_duplicate_or_a_split() -> None:
    first, second, third = good().watches[0].seen
    halves = [(2, {"a2": Item("t2", "", 2)}), (2, {"b2": Item("t2", "", 2)})]
    fourth = (4, third[1])
    for seen in ([first, third], [first, first, second], [first, *halves], [first, second, third, fourth]):
        history = good()
        history.watches = [Watch(after_revision=0, seen=seen)]
        assert violations(history), seen


def test_watches_that_begin_with_a_list() -> None:
    history = good()
    history.watches.append(Watch(after_revision=3, first=state_at_3()))
    assert violations(history) == []
    for first, after_revision in (({}, 3), (state_at_3(), 2), (state_at_3(), 9)):
        history.watches[-1] = Watch(after_revision=after_revision, first=first)
        assert violations(history), after_revision
