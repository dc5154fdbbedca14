"""Every way in which a node on Granian is not as one on Hypercorn: the tests of it, and why it may be so.

They count where the environment has JANUA_HTTP_SERVER=granian, as with `make test-granian`.
"""

from collections.abc import Mapping

NOT_OFFERED: Mapping[str, str] = {
    "test_websocket_proxy.py": "WebSockets lose their close codes, reasons and limits: they are refused with 400",
    "test_size_limits.py::test_websockets_have_a_limit": "WebSockets are not opened",
    "test_drain.py::test_websocket_that_outlives": "WebSockets are not opened",
    "test_credential_pools.py::test_websocket": "WebSockets are not opened",
    "test_mtls_auth.py": "it reads certificates once, and tells nobody those of clients: TLS is refused at start",
}
"""What is refused in so many words. The tests are skipped; those of the refusal are in test_on_granian.py."""

_ABSOLUTE = "it takes an absolute URL as its path, and the host of the header: the backend gets a plain path"
_FRAGMENT = "it cuts a fragment off the target: the backend gets a plain path"
_FOLDED = "it refuses a folded header with 400, as RFC 9112, section 5.2, lets it"
_LENGTH_AND_CODING = "it closes the connection after the answer, as RFC 9112, section 6.1, advises"

OTHERWISE: Mapping[str, str] = {
    **{
        f"test_target_that_is_no_path_is_refused[{through}-GET {target}]": reason
        for through in ("proxied", "direct")
        for target, reason in {
            "http://evil.example/x": _ABSOLUTE,
            "https://gateway/x": _ABSOLUTE,
            "/a#b": _FRAGMENT,
            "/a?b#c": _FRAGMENT,
        }.items()
    },
    "test_target_that_could_lead_elsewhere_is_not_put_in_a_redirect[http://evil.example/x]": _ABSOLUTE,
    "test_inference_path_can_be_redirected": "it refuses a target that does not begin with a slash, with 400",
    **{
        f"test_direct_response[PUT-{status}]": "an answer before the body of the request has no length"
        for status in (200, 201, 304, 404, 418, 503, 599)
    },
    "test_odd_request_reaches_the_backend_as_a_plain_one[folded value]": _FOLDED,
    "proxied_requests.py::test_odd_request_reaches_the_backend_as_a_plain_one[length and coding]": _LENGTH_AND_CODING,
    "proxied_requests.py::test_odd_request_reaches_the_backend_as_a_plain_one[coding and length]": _LENGTH_AND_CODING,
    "test_path_and_query_are_passed_through_byte_for_byte[13]": (
        "it refuses a target with characters that a URI must have percent-encoded, with 400"
    ),
    "test_answer_given_before_the_body_is_read_leaves_the_connection_well": (
        "such an answer ends when the body has, or after five seconds without it: the client must not wait for its end"
    ),
    "test_http2_connection_is_told_to_go_when_its_last_stream_has_ended": (
        "it says so twice with a ping between (RFC 9113, section 6.8), which the client of this test cannot take"
    ),
}
"""What comes out otherwise. The tests must fail, so that it is noticed when one of these is no more."""
