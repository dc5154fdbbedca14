"""Kept answers to conversations that ask the same in other words. One of the node's services makes the vectors; without
one a request goes on as if nothing were found."""

import time
from dataclasses import replace

import structlog

from gateway.config.snapshot import CacheConfig, SemanticConfig
from gateway.context import RequestContext
from gateway.errors import BadGatewayError, GatewayError, InvalidRequestError
from gateway.listeners.service import GatewayService
from gateway.operations.inference import ChatBody, TypedChat, TypedEmbeddings
from gateway.pipeline import Pipeline
from gateway.plan import EmbedderPlan
from gateway.response_cache.flight import Flight
from gateway.response_cache.question import Question
from gateway.response_cache.recording import NearAnswer
from gateway.response_cache.request_key import headers_to_show
from gateway.response_cache.response_cache import ResponseCache
from gateway.response_cache.vectors import Place, Vector, unit_vector
from gateway.schemas.whole_dialect import read_answer
from gateway.types import EmbeddingsRequest, Operation
from gateway.upstream.answer import UnaryAnswer

_log = structlog.get_logger("janua.cache")


class SemanticSearch:
    """The search of one route's cache."""

    def __init__(
        self,
        service: GatewayService,
        pipeline: Pipeline,
        answers: ResponseCache,
        embedder: EmbedderPlan,
        cache: CacheConfig,
        config: SemanticConfig,
    ) -> None:
        self._service = service
        self._pipeline = pipeline
        self._answers = answers
        self._embedder = embedder
        self._cache = cache
        self._config = config

    def question(self, inbound: object) -> Question | None:
        """What is asked, if that may be asked in other words."""
        if not isinstance(inbound, ChatBody | TypedChat):
            return None
        try:
            question = inbound.question()
        except (InvalidRequestError, RecursionError):
            return None  # a backend that speaks the same dialect may understand it
        if question is None or len(question.words.encode(errors="replace")) > self._config.max_text_bytes:
            return None
        return question

    async def find(
        self, flight: Flight, words: str, partition: str, *, max_age_s: float | None, reads: bool
    ) -> NearAnswer | None:
        """The kept answer of that partition to what means the same, if `reads`. Notes where that of the flight will be
        found, and how long it took to get there."""
        started = time.perf_counter()
        vector = await self._vector(flight.context, words)
        flight.context.upstream_seconds += time.perf_counter() - started
        if vector is None:
            self._service.metrics.semantic_cache("failed")
            return None
        config, cache = self._config, self._cache
        flight.place = Place(partition, vector, config.max_candidates)
        if not reads:
            return None
        found = await self._answers.find_near(
            partition,
            vector,
            threshold=config.threshold,
            max_age_s=cache.ttl_s if max_age_s is None else min(cache.ttl_s, max_age_s),
            keep_s=cache.ttl_s + cache.stale_s,
        )
        self._service.metrics.semantic_cache("miss" if found is None else "hit")
        return found

    async def _vector(self, asking: RequestContext, words: str) -> Vector | None:
        """None if it cannot be had."""
        context = replace(
            asking.of_shared_call(headers_to_show({}, asking.headers)),
            operation=Operation.EMBEDDINGS,
            model=self._config.model,
            is_streaming=False,
            started=time.perf_counter(),
        )
        try:
            return await self._embed(context, words)
        except GatewayError as error:
            _log.warning("no vector", route=context.route, service=self._config.service, error=str(error))
        except Exception:
            # A fault of our own must not fail the request, which does not need the vector.
            _log.exception("no vector", route=context.route, service=self._config.service)
        finally:
            self._service.settle_own_call(context)
        return None

    async def _embed(self, context: RequestContext, words: str) -> Vector:
        config = self._config
        asked = EmbeddingsRequest(model=config.model, input=(words,), dimensions=config.dimensions)
        exchange = await self._pipeline.ask(context, self._embedder.backend, TypedEmbeddings(asked))
        context.first_content_at = time.perf_counter()
        if not isinstance(exchange.answer, UnaryAnswer):
            exchange.answer.rest.close()
            raise BadGatewayError("the upstream streamed what nobody asked it to", reason="UPSTREAM_MALFORMED")
        answer = read_answer(exchange.dialect, exchange.answer.body, exchange.answer.headers)
        context.usage = answer.usage
        vector = unit_vector(answer.vectors[0]) if len(answer.vectors) == 1 else None
        if vector is None:
            raise BadGatewayError("the upstream's answer is no vector for one text", reason="UPSTREAM_MALFORMED")
        return vector
