"""What policies are to the pipeline: the phases that a request goes through, and what takes part in each.

A filter is one of these classes, or several. Filters are values of a configuration, made anew with each: what they
count or keep lives in `NodeServices`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeAlias, TypeVar, cast

from msgspec import structs

from gateway.config.snapshot import ConsumerConfig
from gateway.context import RequestContext
from gateway.edits import AnswerEdits, JsonEdit
from gateway.errors import GatewayError
from gateway.types import ChatRequest, Demand, WholeRequest

HeaderList: TypeAlias = list[tuple[bytes, bytes]]
"""Names in lower case, and values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What a browser asks for a page before it sends the page's request. Names of headers are in lower case."""

    origin: bytes
    method: str
    headers: tuple[str, ...]


class CrossOrigin:
    """Tells browsers what pages of other origins may do."""

    def allows(self, origin: bytes) -> bool:
        """Whether pages of that origin may call."""
        raise NotImplementedError

    def mark(self, context: RequestContext) -> None:
        """Adds to `context.answer_headers` what the browser of a page wants to see on every answer, errors too."""
        raise NotImplementedError

    def preflight(self, asked: Preflight) -> HeaderList | None:
        """The headers of the answer to a preflight; None if what it asks for is not allowed."""
        raise NotImplementedError


class Screen:
    """Decides before it is known who calls. `max_body_bytes` is the largest body that it lets pass, None for any."""

    max_body_bytes: int | None = None

    def screen(self, context: RequestContext) -> None:
        """Raises `PermissionDeniedError` and others for a request that must not go on."""
        raise NotImplementedError


class Authenticator:
    """One way to find out who calls."""

    async def authenticate(self, context: RequestContext) -> ConsumerConfig | None:
        """The caller, or None for an anonymous one where that is allowed.

        Raises `UnauthenticatedError` when credentials are missing, wrong or expired.
        """
        raise NotImplementedError


class Authorizer:
    """Decides whether the caller may do what the request asks for."""

    def authorize(self, context: RequestContext) -> None:
        """Raises `PermissionDeniedError` if not. Must give the same answer however often it is asked."""
        raise NotImplementedError


class Demanding(Protocol):
    """A request whose demand can be told."""

    def demand(self) -> Demand:
        """What it will take as far as can be told before."""


class Limiter:
    """Counts requests, and what they take, against limits."""

    async def reserve(self, context: RequestContext, request: Demanding) -> None:
        """Takes what the request will need, to be settled at its end by what it adds to `context.reservations`.

        May add headers to `context.answer_headers`. Raises `RateLimitedError` where a limit is reached, having taken
        nothing.
        """
        raise NotImplementedError

    def joined(self, other: "Limiter") -> "Limiter | None":
        """One that counts for both at once; None if they have nothing to do with each other."""
        return None


class AnswerKeeper:
    """Keeps answers and gives them again. Listeners, which know how answers are sent, do the work."""


class Editable(Protocol):
    """A request that can be changed, as far as it can be looked into."""

    def canonical(self) -> WholeRequest | None:
        """What it says; None if that is not known here. Raises `InvalidRequestError` that names the field."""

    def with_canonical(self, request: Any) -> Self:
        """The same, but saying this: of the type that `canonical` gave. Also where nothing has been changed backends
        get what was read, and no field in the body that says otherwise."""

    def with_json(self, edit: JsonEdit, *, stream: bool) -> Self:
        """The same with its JSON body changed; the very same where there is none."""


R = TypeVar("R", bound=Editable)


class RequestEditor:
    """Changes requests, or refuses what they say. Those that guard come before those that do not."""

    is_guard = False
    changes_demand = False

    def foreseen(self, said: ChatRequest) -> ChatRequest:
        """The conversation as far as it is sure to be changed, so that limits count what will be asked. Of those with
        `changes_demand`. Refuses nothing."""
        return said

    async def edit_request(self, context: RequestContext, request: R) -> R:
        """The request as it goes on. May change `context.header_edits`. Raises `GatewayError`."""
        raise NotImplementedError

    def request_shape(self, context: RequestContext) -> bytes:
        """What the changes depend on beside the policy and what is changed. Raises `GatewayError`."""
        return b""


class AnswerEditor:
    """Changes answers, or ends those that must not go on. Those that guard come before those that do not."""

    is_guard = False

    def edit_answer(self, context: RequestContext) -> AnswerEdits:
        """What is to be done to the answer, decided before a backend is called. Raises `GatewayError`."""
        raise NotImplementedError

    def answer_shape(self, context: RequestContext) -> bytes:
        """What the changes depend on beside the policy and what is changed. Raises `GatewayError`."""
        return b""


Filter = CrossOrigin | Screen | Authenticator | Authorizer | Limiter | RequestEditor | AnswerEditor | AnswerKeeper


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of some policies, by phase. `is_empty`: none has a say in who may ask, or how much. `max_body_bytes`
    is what all of them let pass, None for any size."""

    cross_origin: CrossOrigin | None = None
    screens: tuple[Screen, ...] = ()
    authenticators: tuple[Authenticator, ...] = ()
    authorizers: tuple[Authorizer, ...] = ()
    limiters: tuple[Limiter, ...] = ()
    keepers: tuple[AnswerKeeper, ...] = ()
    request_editors: tuple[RequestEditor, ...] = ()
    answer_editors: tuple[AnswerEditor, ...] = ()
    changing_demand: tuple[RequestEditor, ...] = field(init=False)
    is_empty: bool = field(init=False)
    max_body_bytes: int | None = field(init=False)

    def __post_init__(self) -> None:
        phases = (
            self.cross_origin,
            self.screens,
            self.authenticators,
            self.authorizers,
            self.limiters,
            self.request_editors,
            self.answer_editors,
        )
        object.__setattr__(self, "is_empty", not any(phases))
        changing = tuple(editor for editor in self.request_editors if editor.changes_demand)
        object.__setattr__(self, "changing_demand", changing)
        limits = (screen.max_body_bytes for screen in self.screens if screen.max_body_bytes is not None)
        object.__setattr__(self, "max_body_bytes", min(limits, default=None))

    @classmethod
    def of(cls, filters: Iterable[Filter]) -> Self:
        """These, in their order within each phase."""
        every = tuple(filters)
        return cls(
            cross_origin=next((each for each in every if isinstance(each, CrossOrigin)), None),
            screens=tuple(each for each in every if isinstance(each, Screen)),
            authenticators=tuple(each for each in every if isinstance(each, Authenticator)),
            authorizers=tuple(each for each in every if isinstance(each, Authorizer)),
            limiters=_joined(each for each in every if isinstance(each, Limiter)),
            keepers=tuple(each for each in every if isinstance(each, AnswerKeeper)),
            request_editors=_guards_first(each for each in every if isinstance(each, RequestEditor)),
            answer_editors=_guards_first(each for each in every if isinstance(each, AnswerEditor)),
        )

    def authorize(self, context: RequestContext) -> None:
        """Has all decide. Raises `PermissionDeniedError`."""
        for authorizer in self.authorizers:
            authorizer.authorize(context)

    async def reserve(self, context: RequestContext, request: Demanding) -> None:
        """Has all count. Raises `RateLimitedError`; what others have taken by then is settled with the request."""
        if self.changing_demand:
            # Who changes requests gets those alone that can be changed.
            request = _Foreseen(cast("_DemandingEditable", request), self.changing_demand)
        for limiter in self.limiters:
            await limiter.reserve(context, request)

    async def edit_request(self, context: RequestContext, request: R) -> R:
        """The request after all have changed it. Raises `GatewayError`."""
        for editor in self.request_editors:
            request = await editor.edit_request(context, request)
        return request

    def edit_answer(self, context: RequestContext) -> None:
        """Has all say what is to be done to the answer, before what others have said. Raises `GatewayError`."""
        for editor in reversed(self.answer_editors):
            edits = editor.edit_answer(context)
            context.answer_edits = edits if context.answer_edits is None else edits.then(context.answer_edits)


class _DemandingEditable(Demanding, Editable, Protocol):
    """A request whose demand can be told, and that can be looked into."""


@dataclass(slots=True)
class _Foreseen:
    """A request whose demand is told as it will be once policies have changed it. Limits come before them, but should
    not count what nobody will ask for."""

    request: _DemandingEditable
    editors: Sequence[RequestEditor]

    def demand(self) -> Demand:
        demand = self.request.demand()
        try:
            said = self.request.canonical()
        except GatewayError:
            return demand  # it will be refused, or pass as it came
        if not isinstance(said, ChatRequest):
            return demand
        for editor in self.editors:
            said = editor.foreseen(said)
        bound = said.max_output_tokens
        return structs.replace(demand, output_tokens=bound and bound * max(1, said.n or 1))


_E = TypeVar("_E", RequestEditor, AnswerEditor)


def _guards_first(editors: Iterable[_E]) -> tuple[_E, ...]:
    return tuple(sorted(editors, key=lambda each: not each.is_guard))


def _joined(limiters: Iterable[Limiter]) -> tuple[Limiter, ...]:
    """As few as possible, so that a request takes what it needs of all, or of none."""
    joined: list[Limiter] = []
    for limiter in limiters:
        for index, before in enumerate(joined):
            if (both := before.joined(limiter)) is not None:
                joined[index] = both
                break
        else:
            joined.append(limiter)
    return tuple(joined)


NO_FILTERS = Filters()
