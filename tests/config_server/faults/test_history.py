"""The checker finds each way in which a server can break its word."""

from dataclasses import replace

from tests.config_server.faults.history import History, Read, Write, violations


def written(token: str, number: int, revision: int | None, **fields: bool) -> Write:
    changes = {f"a{number}": token, f"b{number}": token}
    at = float(revision or 9)
    return Write(token=token, changes=changes, begin=at, end=at + 0.5, revision=revision, **fields)


def good() -> History:
    writes = [written("t1", 1, 1), written("t2", 2, 2), written("t3", 1, 3)]
    log = [(write.revision or 0, write.changes) for write in writes]
    state = {**writes[2].changes, **writes[1].changes}
    read = Read(begin=4.0, end=4.5, revision=3, state=state)
    return History(writes=writes, reads=[read], watched=list(log), log=log)


def test_a_good_history() -> None:
    assert violations(good()) == []


def test_an_acknowledged_write_that_is_lost() -> None:
    history = good()
    del history.log[2], history.watched[2]
    assert "t3 was acknowledged as revision 3, which holds None" in violations(history)


def test_a_write_that_is_half_applied() -> None:
    history = good()
    history.log[1] = (2, {"a2": "t2"})
    assert any("t2 was half applied in revision 2" in each for each in violations(history))


def test_a_write_that_is_applied_twice() -> None:
    history = good()
    history.log.append((4, history.log[2][1]))
    history.watched.append(history.log[3])
    assert violations(history) == ["t3 was applied in revision 3 and again in 4"]


def test_a_write_of_nobody_and_one_that_was_refused() -> None:
    history = good()
    history.log.append((4, {"a5": "t5", "b5": "t5"}))
    assert "revision 4 holds t5, which nobody wrote" in violations(history)
    history.writes.append(written("t5", 5, None))
    assert "t5 was refused, and is in revision 4" in violations(history)
    history.writes[-1] = written("t5", 5, None, is_known=False)
    history.watched.append(history.log[3])
    assert violations(history) == [], "what nobody knows may be so or not"


def test_a_gap() -> None:
    history = good()
    history.log[2] = (4, history.log[2][1])
    assert "revisions have gaps or come twice: [1, 2, 4]" in violations(history)


def test_reads_that_show_the_past_or_what_never_was() -> None:
    history = good()
    state = {**history.writes[0].changes, **history.writes[1].changes}
    history.reads[0] = replace(history.reads[0], revision=2, state=state)
    assert violations(history) == ["a read showed revision 2 after 3 had been told"]
    history.reads[0] = replace(history.reads[0], revision=3)
    assert violations(history) == ["a read of revision 3 showed what was never so"]


def test_watches_with_a_gap_a_duplicate_or_a_split() -> None:
    first, second, third = good().log
    halves = [(2, {"a2": "t2"}), (2, {"b2": "t2"})]
    for watched in ([first, third], [first, first, second], [first, *halves], [first, second, third, third]):
        history = good()
        history.watched = watched
        assert violations(history), watched
