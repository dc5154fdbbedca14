"""What models cost, and what a request has cost."""

from dataclasses import dataclass

from gateway.types import Usage

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per million tokens of each kind, and per request.

    A kind that is None costs what its whole costs: `input` or `output`. `tiers` are the prices of longer prompts, the
    shortest first.
    """

    input: float = 0.0
    cached_input: float | None = None
    cache_creation: float | None = None
    audio_input: float | None = None
    output: float = 0.0
    reasoning: float | None = None
    audio_output: float | None = None
    request: float = 0.0
    tiers: tuple["PriceTier", ...] = ()

    @property
    def is_of_tokens(self) -> bool:
        """Whether the number of tokens matters."""
        kinds = (self.cached_input, self.cache_creation, self.audio_input, self.reasoning, self.audio_output)
        return bool(self.input or self.output or self.tiers or any(kinds))


@dataclass(frozen=True, slots=True)
class PriceTier:
    """The price of all tokens of a request with more than so many input tokens."""

    above_input_tokens: int
    price: Price


@dataclass(frozen=True, slots=True)
class PricedModel:
    """A model of a service, by a name that the configuration bounds, with its price if that is known."""

    label: str
    price: Price | None


def cost(usage: Usage | None, price: Price) -> float | None:
    """The US dollars that a request has cost; None if that depends on a usage that nobody told.

    A usage without any token is none: no request is answered without reading one, and backends write such where they do
    not count. A token is counted once, whatever a backend claims: as cached, else as written to the cache, else as
    sound; or as reasoning, else as sound.
    """
    if usage is None or not (usage.input_tokens or usage.output_tokens):
        return None if price.is_of_tokens else price.request
    for tier in reversed(price.tiers):
        if usage.input_tokens > tier.above_input_tokens:
            price = tier.price
            break
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    created = min(usage.cache_creation_tokens, usage.input_tokens - cached)
    heard = min(usage.audio_input_tokens, usage.input_tokens - cached - created)
    thought = min(usage.reasoning_tokens, usage.output_tokens)
    spoken = min(usage.audio_output_tokens, usage.output_tokens - thought)
    of_tokens = (
        (usage.input_tokens - cached - created - heard) * price.input
        + cached * _of(price.cached_input, price.input)
        + created * _of(price.cache_creation, price.input)
        + heard * _of(price.audio_input, price.input)
        + (usage.output_tokens - thought - spoken) * price.output
        + thought * _of(price.reasoning, price.output)
        + spoken * _of(price.audio_output, price.output)
    )
    return of_tokens / _MILLION + price.request


def _of(own: float | None, whole: float) -> float:
    return whole if own is None else own
