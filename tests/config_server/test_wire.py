"""Hand-made bytes against protobuf's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from janua.discovery.v3.ads_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

from config_server.wire import ResponseEncoder, StateResponseEncoder, encode_resource, removed_size

texts = st.text(max_size=300)


@given(
    replica=texts,
    type_url=texts,
    nonce=texts,
    revision=st.integers(0, 2**63 - 1),
    resources=st.lists(st.tuples(texts, texts, st.binary(max_size=20_000)), max_size=4),
    removed=st.lists(texts, max_size=4),
)
def test_a_response_is_what_protobuf_reads(
    replica: str,
    type_url: str,
    nonce: str,
    revision: int,
    resources: list[tuple[str, str, bytes]],
    removed: list[str],
) -> None:
    encoded = [
        encode_resource(type_url=type_url, name=name, version=version, body=body) for name, version, body in resources
    ]
    data = ResponseEncoder(replica).encode(
        type_url=type_url, nonce=nonce, revision=revision, resources=encoded, removed=removed
    )
    response = DeltaDiscoveryResponse.FromString(data)
    expected = DeltaDiscoveryResponse(
        system_version_info=str(revision), type_url=type_url, nonce=nonce, removed_resources=removed
    )
    expected.control_plane.identifier = replica
    for name, version, body in resources:
        resource = expected.resources.add(name=name, version=version)
        resource.resource.type_url = type_url
        resource.resource.value = body
    assert response == expected
    assert len(data) <= sum(each.size for each in encoded) + sum(map(removed_size, removed)) + 3700


@given(
    replica=texts,
    type_url=texts,
    nonce=texts,
    resources=st.lists(st.tuples(texts, texts, st.binary(max_size=20_000)), max_size=4, unique_by=lambda each: each[0]),
)
def test_a_state_of_the_world_is_what_protobuf_reads(
    replica: str, type_url: str, nonce: str, resources: list[tuple[str, str, bytes]]
) -> None:
    encoded = [
        encode_resource(type_url=type_url, name=name, version=version, body=body) for name, version, body in resources
    ]
    encoder = StateResponseEncoder(replica)
    data = encoder.encode(type_url=type_url, nonce=nonce, revision=1, resources=encoded, removed=["gone"])
    response = DiscoveryResponse.FromString(data)
    expected = DiscoveryResponse(version_info=response.version_info, type_url=type_url, nonce=nonce)
    expected.control_plane.identifier = replica
    for _, _, body in sorted(resources):
        expected.resources.add(type_url=type_url, value=body)
    assert response == expected
    # The version is that of the contents: neither their order nor the revision counts.
    again = encoder.encode(type_url=type_url, nonce="another", revision=2, resources=encoded[::-1], removed=[])
    assert DiscoveryResponse.FromString(again).version_info == response.version_info
    if encoded:
        fewer = encoder.encode(type_url=type_url, nonce=nonce, revision=1, resources=encoded[1:], removed=[])
        assert DiscoveryResponse.FromString(fewer).version_info != response.version_info


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_lengths_at_the_borders_of_a_varint(size: int) -> None:
    encoded = encode_resource(type_url="t", name="n", version="v", body=b"x" * size)
    data = ResponseEncoder("r").encode(type_url="t", nonce="1", revision=1, resources=[encoded], removed=[])
    (resource,) = DeltaDiscoveryResponse.FromString(data).resources
    assert len(resource.resource.value) == size
