"""Applies of every kind, one after the other, against a model, while the server restarts and its clock goes wrong."""

import asyncio
import itertools
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from janua.config.v1.config_service_pb2 import ApplyRequest, ApplyResponse

from config_server.apply import REQUEST_IDS_KEPT, Applier
from config_server.errors import ApiError
from config_server.metrics import Metrics
from config_server.nodes import NodeRegistry
from config_server.revision_signal import RevisionSignal
from config_server.snapshot_cache import SnapshotCache
from config_server.store.sqlite import SqliteStore, open_sqlite
from config_server.writer import Writer
from tests.config_server.faults.model import Ask, Item, State, after, changes, refusal
from tests.config_server.stored import NOW
from tests.config_server.worlds import batch, delete, upsert, upstream

pytestmark = pytest.mark.timeout(600)  # thousands of steps, on a machine that may be busy

_NAMES = ("a", "b", "c")
_TEXTS = ("", "one", "two")
_SETS = ("", "files", "more")


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request id was answered, and when."""

    request: ApplyRequest
    response: ApplyResponse
    time: datetime


class Applies(RuleBasedStateMachine):
    """Whatever the order, the server does what the model says, and has it after a start too."""

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._directory = TemporaryDirectory(prefix="janua-test-")
        self._path = Path(self._directory.name) / "config.db"
        self._tokens = itertools.count(1)
        self._now = NOW
        self._states: list[State] = [{}]
        self._etags: dict[tuple[str, int], str] = {}
        self._answered: dict[str, Answered] = {}

    @initialize()
    def start(self) -> None:
        """A server as the composition root would make it, without its wires."""
        self._runner.run(self._start())

    async def _start(self) -> None:
        self._running = AsyncExitStack()
        self._store: SqliteStore = await self._running.enter_async_context(open_sqlite(f"sqlite:///{self._path}"))
        self._cache = SnapshotCache(await self._store.load())
        writer = Writer(store=self._store, cache=self._cache, signal=RevisionSignal(self._cache.revision))
        nodes = NodeRegistry([], clock=lambda: self._now)
        self._applier = Applier(
            store=self._store,
            cache=self._cache,
            writer=writer,
            nodes=nodes,
            metrics=Metrics(),
            no_values="there is no key",
            clock=lambda: self._now,
        )
        self._writing = asyncio.create_task(writer.run())

    async def _stop(self) -> None:
        self._writing.cancel()
        await asyncio.gather(self._writing, return_exceptions=True)
        await self._running.aclose()

    @rule()
    def restart(self) -> None:
        self._runner.run(self._stop())
        self._runner.run(self._start())

    @rule(hours=st.sampled_from([-9000, -30, 1, 20, 30]))
    def turn_the_clock(self, hours: int) -> None:
        self._now += timedelta(hours=hours)

    @rule(
        target=requests,
        upserts=st.dictionaries(st.sampled_from(_NAMES), st.sampled_from(_TEXTS)),
        deletes=st.sets(st.sampled_from(_NAMES)),
        set_name=st.sampled_from(_SETS),
        prunes=st.booleans(),
        base=st.sampled_from([None, None, None, 0, 1]),
        held=st.dictionaries(st.sampled_from(_NAMES), st.integers(0, 2)),
        new=st.sets(st.sampled_from(_NAMES), max_size=1),
        has_id=st.booleans(),
    )
    def apply(
        self,
        upserts: dict[str, str],
        deletes: set[str],
        set_name: str,
        prunes: bool,
        base: int | None,
        held: dict[str, int],
        new: set[str],
        has_id: bool,
    ) -> object:
        revision = len(self._states) - 1
        gone = sorted(deletes - upserts.keys())
        ask = Ask(
            token=f"t{next(self._tokens)}",
            upserts=upserts,
            deletes=gone,
            set=set_name,
            prune=prunes and bool(set_name) and bool(upserts or gone),
            base_revision=None if base is None else max(revision - base, 0),
            held={
                name: written for name, age in held.items() if (written := self._written(name, age)) and name not in new
            },
            new=new & upserts.keys(),
        )
        self._apply(ask, request := self._request(ask, ask.token if has_id else ""))
        return (ask, request) if has_id else multiple()

    def _written(self, name: str, age: int) -> int:
        """The revision that the name was written in, so many revisions ago. 0: it was not there."""
        item = self._states[max(len(self._states) - 1 - age, 0)].get(name)
        return 0 if item is None else item.written

    def _request(self, ask: Ask, request_id: str) -> ApplyRequest:
        etags = {name: self._etags[name, written] for name, written in ask.held.items()}
        request = batch(
            *(
                upsert(upstream(name, description=text), etag=etags.get(name, ""), must_not_exist=name in ask.new)
                for name, text in ask.upserts.items()
            ),
            *(delete("upstream", name, etag=etags.get(name, "")) for name in ask.deletes),
        )
        request.request_id, request.set, request.prune = request_id, ask.set, ask.prune
        if ask.base_revision is not None:
            request.base_revision = ask.base_revision
        return request

    def _apply(self, ask: Ask, request: ApplyRequest) -> None:
        state, revision = self._states[-1], len(self._states) - 1
        outcome = self._outcome(request)
        reason = refusal(ask, revision, state)
        if reason is not None:
            assert outcome == reason
            return
        assert isinstance(outcome, ApplyResponse), outcome
        made = changes(ask, revision, state)
        if made:
            self._states.append(after(state, made))
        assert outcome.revision == len(self._states) - 1
        written = ((result.key.name, result.etag) for result in outcome.results if result.etag)
        self._etags.update(((name, self._states[-1][name].written), etag) for name, etag in written)
        if request.request_id:
            self._answered[request.request_id] = Answered(request, outcome, self._now)

    def _outcome(self, request: ApplyRequest) -> ApplyResponse | str:
        """The answer, or the reason of the refusal."""
        try:
            return self._runner.run(self._applier.apply(request))
        except ApiError as error:
            return error.reason

    @rule(asked=requests)
    def repeat(self, asked: tuple[Ask, ApplyRequest]) -> None:
        ask, request = asked
        answered = self._answered.get(request.request_id)
        if answered is None or answered.time < self._now - REQUEST_IDS_KEPT:
            self._apply(ask, request)
        else:
            assert self._outcome(request) == answered.response

    @rule(asked=requests)
    def reuse(self, asked: tuple[Ask, ApplyRequest]) -> None:
        _, request = asked
        answered = self._answered.get(request.request_id)
        if answered is not None and answered.time >= self._now - REQUEST_IDS_KEPT:
            other = batch(upstream("other"))
            other.request_id = request.request_id
            assert self._outcome(other) == "REQUEST_ID_REUSED"

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        if not hasattr(self, "_cache"):
            return
        found = {
            key.name: Item(resource.message.description, resource.entry.set, resource.entry.revision)
            for key, resource in self._cache.resources.items()
        }
        assert (self._cache.revision, found) == (len(self._states) - 1, self._states[-1])

    def teardown(self) -> None:
        if hasattr(self, "_running"):
            self._runner.run(self._stop())
        self._runner.close()
        self._directory.cleanup()


TestApplies = Applies.TestCase
TestApplies.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
