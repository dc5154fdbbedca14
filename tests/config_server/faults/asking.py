"""What clients ask of a config server while it is tried out: writes of every kind, made up at random, as requests and
as values of the model."""

import itertools
import random
from collections.abc import Iterable

from google.protobuf.message import Message
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.resource_pb2 import StoredResource

from tests.config_server.faults.model import Ask, Changes, Item, State
from tests.config_server.worlds import batch, delete, upsert, upstream

NAMES = tuple(f"{letter}{number}" for number in range(4) for letter in "abc")
_SET = "files"


class Asking:
    """Makes up writes of what was last seen, so that most of them can be done and some cannot."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._tokens = itertools.count(1)
        self._revision = 0
        self._seen: dict[str, Item] = {}
        self._etags: dict[tuple[str, int], str] = {}

    def saw(self, revision: int, resources: Iterable[StoredResource]) -> State:
        """Takes in all that there was at a revision, and gives it as the model has it."""
        resources = list(resources)
        state = {each.resource.upstream.name: item_of(each) for each in resources}
        self._etags.update({(each.resource.upstream.name, each.revision): each.etag for each in resources})
        if revision >= self._revision:
            self._revision, self._seen = revision, state
        return state

    def next(self) -> Ask:
        """Another write."""
        token = f"t{next(self._tokens)}"
        group = self._random.randrange(len(NAMES) // 3)
        names = NAMES[group * 3 : group * 3 + 3]
        texts = dict.fromkeys(names, token)
        held = {name: self._seen[name].written for name in names if name in self._seen}
        match self._random.randrange(10):
            case 0:
                return Ask(token=token, upserts=texts, held=held)
            case 1:
                return Ask(token=token, upserts=texts, base_revision=self._revision)
            case 2:
                return Ask(token=token, upserts=texts, new=[name for name in names if name not in held])
            case 3:
                return Ask(token=token, upserts=texts, new=names[:1])
            case 4:
                return Ask(token=token, upserts={names[0]: token}, deletes=names[1:], held=held)
            case 5 if held:
                return Ask(token=token, deletes=list(held))
            case 6 if held:
                return Ask(token=token, upserts={name: self._seen[name].text for name in held})
            case 7:
                some = self._random.sample(NAMES, 4)
                return Ask(token=token, upserts=dict.fromkeys(some, token), set=_SET, prune=True)
        return Ask(token=token, upserts=texts)

    def other_than(self, ask: Ask) -> Ask:
        """A write that has nothing of another."""
        token = f"{ask.token}-other-{next(self._tokens)}"
        return Ask(token=token, upserts=dict.fromkeys(NAMES[:2], token))

    def request(self, ask: Ask, request_id: str) -> pb.ApplyRequest:
        """The message names the token: so the log of revisions tells which write made each."""
        upserts = [
            upsert(upstream(name, description=text), etag=self._etag(ask, name), must_not_exist=name in ask.new)
            for name, text in ask.upserts.items()
        ]
        deletes = [delete("upstream", name, etag=self._etag(ask, name)) for name in ask.deletes]
        request = batch(*upserts, *deletes)
        request.request_id, request.message = request_id, ask.token
        request.set, request.prune = ask.set, ask.prune
        if ask.base_revision is not None:
            request.base_revision = ask.base_revision
        return request

    def _etag(self, ask: Ask, name: str) -> str:
        return self._etags[name, ask.held[name]] if name in ask.held else ""


def item_of(stored: StoredResource) -> Item:
    return Item(stored.resource.upstream.description, stored.set, stored.revision)


def changes_of(events: Iterable[pb.ResourceEvent]) -> Changes:
    """What a watch says that a revision changed."""
    return {
        event.resource.resource.upstream.name: None
        if event.type == pb.ResourceEvent.TYPE_DELETED
        else item_of(event.resource)
        for event in events
    }


def as_bytes(response: Message) -> bytes:
    """An answer, to be compared with another."""
    return response.SerializeToString(deterministic=True)
