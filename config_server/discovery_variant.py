"""The two variants of the protocol on the wire: requests as values, and what answers them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from google.rpc import status_pb2
from janua.discovery.v3 import ads_pb2

from config_server.state_subscription import StateSubscription
from config_server.subscription import Subscription, SubscriptionRequest
from config_server.type_subscription import SubscriptionFactory
from config_server.wire import Encoder, ResponseEncoder, StateResponseEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRequest:
    """A request of either variant. `error`: it refuses a response. `holds_resources`: the client still has some of the
    type from another stream."""

    node: ads_pb2.Node
    type_url: str
    subscription: SubscriptionRequest
    error: status_pb2.Status | None
    holds_resources: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """`read` raises DecodeError for bytes that are no request."""

    method: str
    read: Callable[[bytes], ClientRequest]
    make_subscription: SubscriptionFactory
    make_encoder: Callable[[str], Encoder]


def _read_delta(data: bytes) -> ClientRequest:
    message = ads_pb2.DeltaDiscoveryRequest.FromString(data)
    return ClientRequest(
        node=message.node,
        type_url=message.type_url,
        subscription=SubscriptionRequest(
            subscribe=message.resource_names_subscribe,
            unsubscribe=message.resource_names_unsubscribe,
            initial_versions=message.initial_resource_versions,
            nonce=message.response_nonce,
        ),
        error=message.error_detail if message.HasField("error_detail") else None,
        holds_resources=bool(message.initial_resource_versions),
    )


def _read_state(data: bytes) -> ClientRequest:
    message = ads_pb2.DiscoveryRequest.FromString(data)
    return ClientRequest(
        node=message.node,
        type_url=message.type_url,
        subscription=SubscriptionRequest(subscribe=message.resource_names, nonce=message.response_nonce),
        error=message.error_detail if message.HasField("error_detail") else None,
        holds_resources=bool(message.version_info) and not message.response_nonce,
    )


DELTA: Final = Variant(
    method="DeltaAggregatedResources",
    read=_read_delta,
    make_subscription=Subscription,
    make_encoder=ResponseEncoder,
)

STATE_OF_THE_WORLD: Final = Variant(
    method="StreamAggregatedResources",
    read=_read_state,
    make_subscription=StateSubscription,
    make_encoder=StateResponseEncoder,
)

VARIANTS: Final = (DELTA, STATE_OF_THE_WORLD)
