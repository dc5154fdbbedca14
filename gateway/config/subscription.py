"""What one stream has asked for of one resource type, and what it has still to say: pure bookkeeping.

Source: the xDS protocol, "Incremental xDS": subscribing, ACK and NACK, reconnecting.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from gateway.config.discovery import DiscoveryRequest
from gateway.config.resources import Rejection

WILDCARD = "*"


@dataclass(frozen=True, slots=True)
class _Answer:
    nonce: str
    rejections: tuple[Rejection, ...]


class Subscription:
    """Interest in one type on one stream. A new stream needs a new one: nothing of the old counts there.

    Methods change what is to be said; `next_request` says it. `held` gives name and version of what is in use.
    """

    def __init__(self, type_url: str, held: Callable[[], Mapping[str, str]], *, wanted: Collection[str] = ()) -> None:
        self.type_url = type_url
        self._held = held
        self._base = frozenset(wanted)
        self._recovering: set[str] = set()
        self._repeat: set[str] = set()
        self._asked: frozenset[str] = frozenset()
        self._answers: deque[_Answer] = deque()
        self._is_open = False
        self._has_spoken = False

    def open(self) -> None:
        """Allows the first request, which lists what is held: nothing of this type may be under way to be held."""
        self._is_open = True

    def want(self, names: Collection[str]) -> None:
        """Replaces the names of interest."""
        self._base = frozenset(names)

    def recover(self, names: Collection[str]) -> None:
        """Asks once more for names that were refused and are in use after all, so that the server hears the ACK.

        Before the first request there is no need: it lists them as held.
        """
        if not self._has_spoken:
            return
        names = {name for name in names if self.asks_for(name)}
        self._repeat |= names
        self._recovering |= names

    def asks_for(self, name: str) -> bool:
        """Whether a resource of this name may come."""
        return WILDCARD in self._base or name in self._base

    def answer(self, nonce: str, names: Collection[str], rejections: Collection[Rejection] = ()) -> None:
        """Accepts, or refuses, a response that spoke of these names."""
        self._answers.append(_Answer(nonce, tuple(rejections)))
        # A name whose request is not out yet has not been answered by this response.
        self._recovering.difference_update(self._asked.intersection(names) - self._repeat)

    def next_request(self) -> DiscoveryRequest | None:
        """What is to be sent now, all of it in one request; None if nothing is."""
        answer = self._answers.popleft() if self._answers else None
        subscribe, unsubscribe = self._changes() if self._is_open else (frozenset[str](), frozenset[str]())
        if not (answer or subscribe or unsubscribe):
            return None
        if not (self._has_spoken or subscribe):
            # An ACK of a type never asked for would, alone, read as the legacy way to ask for all of it.
            unsubscribe = frozenset({WILDCARD})
        request = DiscoveryRequest(
            type_url=self.type_url,
            subscribe=tuple(sorted(subscribe)),
            unsubscribe=tuple(sorted(unsubscribe)),
            initial_versions=self._versions_held() if subscribe and not self._has_spoken else {},
            nonce=answer.nonce if answer else "",
            rejections=answer.rejections if answer else (),
        )
        self._has_spoken = True
        return request

    def _changes(self) -> tuple[frozenset[str], frozenset[str]]:
        wanted = self._base | self._recovering if WILDCARD in self._base else self._base
        subscribe = (wanted - self._asked) | (self._repeat & wanted)
        unsubscribe = self._asked - wanted
        self._asked = wanted
        self._repeat.clear()
        return subscribe, unsubscribe

    def _versions_held(self) -> dict[str, str]:
        return {name: version for name, version in self._held().items() if self.asks_for(name)}
