import itertools
from textwrap import dedent
from typing import Literal

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck as Health
from hypothesis import given, settings
from janua.config.v1.consumer_pb2 import ApiKey, Consumer
from janua.config.v1.policy_pb2 import ApiKeyAuth, Policy
from janua.config.v1.route_pb2 import Backend, HeaderMatch, PathMatch, Route, RouteMatch
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import (
    RETRY_ON_CONNECT_FAILURE,
    RETRY_ON_RESET,
    SCHEMA_OPENAI,
    Credential,
    Model,
    ProxyService,
    RetryPolicy,
    Service,
    Timeouts,
    UpstreamService,
)
from janua.config.v1.upstream_pb2 import Endpoint, HealthCheck, LoadBalancing, StatusRange, Upstream
from janua_resources.documents import MAX_ERRORS, Document, DocumentError, dump, parse
from janua_resources.field_rules import check_fields
from janua_resources.kinds import KINDS, ConfigMessage, KindInfo
from janua_resources.rules import check
from janua_resources.world import check_world

from tests.clients.janua_resources.message_strategies import resources

EXAMPLE = """\
upstreams:
- name: llama-pool
  labels: {team: search, "8": 16}
  description: the two boxes under the desk
  endpoints:
  - {address: "127.0.0.1:9001", weight: 1, state: ACTIVE}
  - {address: "https://box-2.example:8443/base", state: STATE_DRAINING}
  load_balancing:
    policy: LEAST_REQUEST
    least_request: {choice_count: 2}
  health_checks:
  - {http: {path: /health, expected_statuses: [{start: 200, end: 299}], method: GET}, interval: 5s, jitter: 500ms}
services:
- name: local-llm
  upstream_service: {upstream: llama-pool, schema: OPENAI, path_prefix: ""}
  models: [{name: gemma-3, upstream_name: gemma-3-270m.gguf}]
- name: groq
  proxy_service:
    provider: groq
    credentials: [{secret: groq-key}]
    headers: {x-team: search}
  retry_policy: {num_retries: 0, retry_on: [CONNECT_FAILURE, RETRY_ON_RESET], per_try_timeout: 1.5m}
  timeouts: {request: 600s, first_token: 60s}
routes:
- name: chat
  priority: -1
  match:
    hosts: ["*.example.com"]
    path: {exact: /v1/chat/completions}
    headers: [{name: x-tier, exact: gold}, {name: x-b, present: false, invert: true}]
    models: ["gemma-*"]
  backends: [{service: local-llm, weight: 9}, {service: groq, weight: 0, model_override: llama}]
  policies: [keys]
policies:
- {name: keys, api_key_auth: {optional: false}}
consumers:
- name: alice
  api_keys:
  - key_sha256: 0000000000000000000000000000000000000000000000000000000000000123
    label: 7
    expires: 2027-01-01T00:00:00Z
secrets:
- {name: groq-key, env: GROQ_API_KEY, allowed_hosts: [api.groq.com]}
"""

MESSAGES: list[ConfigMessage] = [
    Upstream(
        name="llama-pool",
        labels={"team": "search", "8": "16"},
        description="the two boxes under the desk",
        endpoints=[
            Endpoint(address="127.0.0.1:9001", weight=1, state=Endpoint.STATE_ACTIVE),
            Endpoint(address="https://box-2.example:8443/base", state=Endpoint.STATE_DRAINING),
        ],
        load_balancing=LoadBalancing(
            policy=LoadBalancing.POLICY_LEAST_REQUEST, least_request=LoadBalancing.LeastRequest(choice_count=2)
        ),
        health_checks=[
            HealthCheck(
                http=HealthCheck.Http(
                    path="/health", expected_statuses=[StatusRange(start=200, end=299)], method="GET"
                ),
                interval=Duration(seconds=5),
                jitter=Duration(nanos=500_000_000),
            )
        ],
    ),
    Service(
        name="local-llm",
        upstream_service=UpstreamService(upstream="llama-pool", schema=SCHEMA_OPENAI),
        models=[Model(name="gemma-3", upstream_name="gemma-3-270m.gguf")],
    ),
    Service(
        name="groq",
        proxy_service=ProxyService(
            provider="groq", credentials=[Credential(secret="groq-key")], headers={"x-team": "search"}
        ),
        retry_policy=RetryPolicy(
            num_retries=0, retry_on=[RETRY_ON_CONNECT_FAILURE, RETRY_ON_RESET], per_try_timeout=Duration(seconds=90)
        ),
        timeouts=Timeouts(request=Duration(seconds=600), first_token=Duration(seconds=60)),
    ),
    Route(
        name="chat",
        priority=-1,
        match=RouteMatch(
            hosts=["*.example.com"],
            path=PathMatch(exact="/v1/chat/completions"),
            headers=[HeaderMatch(name="x-tier", exact="gold"), HeaderMatch(name="x-b", present=False, invert=True)],
            models=["gemma-*"],
        ),
        backends=[
            Backend(service="local-llm", weight=9),
            Backend(service="groq", weight=0, model_override="llama"),
        ],
        policies=["keys"],
    ),
    Policy(name="keys", api_key_auth=ApiKeyAuth()),
    Consumer(
        name="alice",
        api_keys=[ApiKey(key_sha256="123".zfill(64), label="7", expires=Timestamp(seconds=1_798_761_600))],
    ),
    Secret(name="groq-key", env="GROQ_API_KEY", allowed_hosts=["api.groq.com"]),
]


def messages_of(document: Document) -> list[ConfigMessage]:
    return [located.message for located in document.resources]


def errors_of(text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        parse(dedent(text), source="f.yaml", environ=environ)
    assert str(caught.value) == "\n".join(str(error) for error in caught.value.errors)
    return [str(error) for error in caught.value.errors]


def test_a_configuration_is_read_with_short_names_and_units() -> None:
    messages = messages_of(parse(EXAMPLE, source="example.yaml"))
    assert messages == MESSAGES
    assert [found for message in messages for found in (*check_fields(message), *check(message))] == []


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_is_written_reads_back_in_reading_order(form: Literal["yaml", "json"]) -> None:
    text = dump(reversed(MESSAGES), form)
    kinds = [located.message.DESCRIPTOR.name for located in parse(text, source="x").resources]
    assert list(dict.fromkeys(kinds)) == ["Upstream", "Service", "Route", "Policy", "Consumer", "Secret"]
    assert messages_of(parse(dump(MESSAGES, form), source="x")) == MESSAGES


def test_what_is_written_is_short() -> None:
    assert dump([MESSAGES[4], MESSAGES[0]]) == dedent("""\
        upstreams:
        - name: llama-pool
          labels:
            '8': '16'
            team: search
          description: the two boxes under the desk
          endpoints:
          - address: 127.0.0.1:9001
            weight: 1
            state: ACTIVE
          - address: https://box-2.example:8443/base
            state: DRAINING
          load_balancing:
            policy: LEAST_REQUEST
            least_request:
              choice_count: 2
          health_checks:
          - http:
              path: /health
              expected_statuses:
              - start: 200
                end: 299
              method: GET
            interval: 5s
            jitter: 500ms
        policies:
        - name: keys
          api_key_auth: {}
        """)
    assert dump([]) == "{}\n"
    assert dump([], "json") == "{}\n"


@settings(deadline=None, suppress_health_check=[Health.too_slow])  # a busy machine is no failure
@given(resources(well=True))
def test_any_resource_survives_yaml(message: ConfigMessage) -> None:
    assert messages_of(parse(dump([message]), source="x", environ={"A": "wrong"})) == [message]


@settings(deadline=None, suppress_health_check=[Health.too_slow])  # a busy machine is no failure
@given(resources(well=True))
def test_any_resource_survives_json(message: ConfigMessage) -> None:
    assert messages_of(parse(dump([message], "json"), source="x", environ={"A": "wrong"})) == [message]


def test_numbers_of_a_newer_version_are_written_as_they_are() -> None:
    newer = Upstream(name="a", load_balancing=LoadBalancing(policy=99))  # type: ignore[arg-type]  # the point of it
    assert "policy: 99" in dump([newer])


@pytest.mark.parametrize("text", ["", "---\n---\n", "# nothing\n", "{}", "routes:\n", "routes: []", "~"])
def test_nothing_is_a_configuration_too(text: str) -> None:
    assert parse(text, source="x").resources == ()


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.name)
def test_every_kind_has_its_key(info: KindInfo) -> None:
    assert messages_of(parse(f"{info.plural}: [{{name: a}}]", source="x")) == [info.message(name="a")]


def test_documents_are_read_in_order() -> None:
    document = parse("routes: [{name: a}]\n---\nroutes: [{name: b}]\nsecrets: [{name: a}]\n", source="x")
    assert [located.message.name for located in document.resources] == ["a", "b", "a"]


def test_lists_and_labels_may_be_left_empty() -> None:
    [upstream] = messages_of(parse("upstreams: [{name: a, endpoints: , labels: }]", source="x"))
    assert upstream == Upstream(name="a")


def test_aliases_repeat_values() -> None:
    text = "upstreams:\n- {name: a, endpoints: &e [{address: 'a:1'}]}\n- {name: b, endpoints: *e}\n"
    [_, second] = messages_of(parse(text, source="x"))
    assert second == Upstream(name="b", endpoints=[Endpoint(address="a:1")])


ENVIRON = {"POOL": "llama", "WEIGHT": "3", "POLICY": "LEAST_REQUEST", "TIMEOUT": "5s", "INJECT": "a, b: {c: d}"}


def test_variables_are_expanded_in_values_of_every_type() -> None:
    text = """
    upstreams:
    - name: ${POOL}-pool
      description: $${POOL} costs $5
      labels: {"${POOL}": "${INJECT}"}
      endpoints: [{address: "${HOST:-127.0.0.1}:9001", weight: "${WEIGHT}"}]
      load_balancing: {policy: "${POLICY}"}
      connection_pool: {connect_timeout: "${TIMEOUT}"}
    """
    [upstream] = messages_of(parse(text, source="x", environ=ENVIRON))
    assert upstream == Upstream(
        name="llama-pool",
        description="${POOL} costs $5",
        labels={"${POOL}": "a, b: {c: d}"},
        endpoints=[Endpoint(address="127.0.0.1:9001", weight=3)],
        load_balancing=LoadBalancing(policy=LoadBalancing.POLICY_LEAST_REQUEST),
        connection_pool={"connect_timeout": Duration(seconds=5)},  # type: ignore[arg-type]  # a mapping will do
    )


def test_without_an_environment_no_variable_is_set() -> None:
    [error] = errors_of("secrets: [{name: '${NAME}'}]")
    assert error.startswith("f.yaml:1:18: name: environment variable NAME is not set; set it, or write ${NAME:-")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[]", "1:1: expected one or more of secrets, upstreams, policies, services, consumers, routes, not a list"),
        ("hello", "1:1: expected one or more of secrets"),
        ("route: []", "1:1: unknown kind 'route'; did you mean 'routes'?"),
        ("x: []", "1:1: unknown kind 'x'; known are secrets, upstreams,"),
        ("routes: {name: a}", "1:9: routes: expected a list, not keys with values"),
        ("routes: [a]", "1:10: routes: expected the fields of a route, not 'a'"),
        ("routes: [{nam: a}]", "1:11: unknown field 'nam' in route; did you mean 'name'?"),
        ("policies: [{zzz: a}]", "1:13: unknown field 'zzz' in policy; known are name, labels, description, api_key"),
        ("policies: [{api_key_auth: {zzz: 1}}]", "1:28: unknown field 'zzz' in api_key_auth; known are optional"),
        ("routes: [{name: [a]}]", "1:17: name: expected a single value, not a list"),
        ("routes: [{name: {}}]", "1:17: name: expected a single value, not keys with values"),
        ("routes: [{name: }]", '1:17: name: has no value; leave the field out, or write "" for empty text'),
        ("routes: [{name: null}]", "1:17: name: has no value"),
        ("routes: [{match: GET}]", "1:18: match: expected fields, not 'GET'"),
        ("routes: [{match: []}]", "1:18: match: expected fields, not a list"),
        ("policies: [{api_key_auth: }]", "1:27: api_key_auth: expected fields, not nothing; write {} for its"),
        ("routes: [{labels: [a]}]", "1:19: labels: expected keys with values, not a list"),
        ("routes: [{labels: {a: }}]", '1:23: labels["a"]: has no value'),
        ("routes: [{policies: a}]", "1:21: policies: expected a list, not 'a'"),
        ("routes: [{policies: [a, [b]]}]", "1:25: policies[1]: expected a single value, not a list"),
        ("routes: [{backends: [{weight: 1.5}]}]", "1:31: backends[0].weight: '1.5' is not a whole number"),
        ("routes: [{backends: [{weight: true}]}]", "1:31: backends[0].weight: 'true' is not a whole number"),
        ("routes: [{backends: [{weight: -1}]}]", "1:31: backends[0].weight: -1 is not in the range 0 to "),
        ("policies: [{api_key_auth: {optional: yes}}]", "1:38: api_key_auth.optional: 'yes' is not true or false"),
        (
            "services: [{upstream_service: {schema: OPENA}}]",
            "1:40: upstream_service.schema: unknown value 'OPENA'",
        ),
        ("routes: [{timeouts: {request: 5}}]", "1:31: timeouts.request: duration '5' has no unit; put s or ms after"),
        ("routes: [{timeouts: {request: {}}}]", "1:31: timeouts.request: expected a single value"),
        ("consumers: [{api_keys: [{expires: 2027-01-01}]}]", "1:35: api_keys[0].expires: '2027-01-01' is not a time"),
        ("secrets: [{env: A, file: /a}]", "1:20: env and file exclude each other"),
        ("routes:\n- {name: a}\n- {name: a}", "3:4: route 'a' is defined already, at 2:4"),
        ("routes: [{name: a}]\n---\nroutes: [{name: a}]", "3:11: route 'a' is defined already, at 1:11"),
        ("routes: [{name: a, name: b}]", "1:20: key 'name' is there already, at 1:11"),
        ("routes: [", "2:1: is not YAML"),
        ('{"routes": [,]}', "1:13: is not JSON: expected a value"),
    ],
)
def test_every_mistake_has_its_place(text: str, error: str) -> None:
    [found] = errors_of(text)
    assert found.startswith(f"f.yaml:{error}")


def test_all_mistakes_of_all_documents_are_found_at_once() -> None:
    errors = errors_of(
        """\
        upstreams:
        - name: a
          load_balancing: {polcy: LEAST_REQUEST}
          endpoints: [{adress: "a:1"}, {address: "b:1", weight: x}]
        rooutes: []
        ---
        secrets:
        - {name: b, env: "${UNSET}"}
        ---
        routes: ]
        """
    )
    assert [error.split(" ")[0] for error in errors] == [
        "f.yaml:3:20:",
        "f.yaml:4:16:",
        "f.yaml:4:57:",
        "f.yaml:5:1:",
        "f.yaml:8:18:",
        "f.yaml:10:9:",
    ]
    assert errors[0] == "f.yaml:3:20: unknown field 'polcy' in load_balancing; did you mean 'policy'?"


def test_places_of_fields_are_kept() -> None:
    text = dedent("""\
        upstreams:
        - name: a
          endpoints:
          - address: "a:1"
          - address: nowhere
            weight: 1
          labels: {x.y: "1"}
        """)
    [located] = parse(text, source="f.yaml").resources
    assert (located.source, located.line, located.column) == ("f.yaml", 2, 3)
    assert located.position("") == (2, 3)
    assert located.position("name") == (2, 3)
    assert located.position("endpoints") == (3, 3)
    assert located.position("endpoints[1]") == (5, 5)
    assert located.position("endpoints[1].weight") == (6, 5)
    assert located.position('labels["x.y"]') == (7, 12)
    # What the text does not give is where it would have been given.
    assert located.position("endpoints[0].weight") == (4, 5)
    assert located.position('labels["z.y"]') == (7, 3)
    assert located.position("health_checks[0].http.path") == (2, 3)


def test_violations_lead_to_their_place() -> None:
    text = "upstreams:\n- name: a\n  endpoints:\n  - {weight: 1, address: nowhere}\n  - {weight: 200}\n"
    [located] = parse(text, source="f.yaml").resources
    [violation, *_] = check(located.message)
    assert located.position(violation.field) == (4, 17)
    message = "upstream 'a': endpoints[0].address: 'nowhere' has no port; write host:port"
    assert str(located.locate(violation)) == f"f.yaml:4:17: {message}"
    by_field = {violation.field: located.position(violation.field) for violation in check_fields(located.message)}
    assert by_field == {"endpoints[1].address": (5, 5), "endpoints[1].weight": (5, 6)}


def test_an_example_becomes_a_right_world() -> None:
    document = parse(EXAMPLE, source="example.yaml")
    kinds = {info.message: info.kind for info in KINDS}
    messages = messages_of(document)
    world = dict(zip(((kinds[type(message)], message.name) for message in messages), messages, strict=True))
    assert check_world(world) == []


def test_a_file_over_the_limit_is_refused_before_it_is_read() -> None:
    [error] = errors_of("# " + "x" * 16 * 1024 * 1024)
    assert error == "f.yaml:1:1: the text is larger than 16 MiB"


def test_every_kind_is_written() -> None:
    text = dump([info.message(name="a") for info in KINDS])
    assert sorted(line.removesuffix(":") for line in text.splitlines() if not line.startswith("-")) == sorted(
        info.plural for info in KINDS
    )


def test_errors_end_somewhere() -> None:
    assert len(errors_of("\n".join(f"a{number}:" for number in range(2000)))) == MAX_ERRORS


def test_errors_come_in_the_order_of_the_text() -> None:
    lines = [error.split(":")[1:3] for error in errors_of("routes: [{x: 1, y: 2}]\nz: 1\nroutes: []\n")]
    places = [(int(line), int(column)) for line, column in lines]
    assert all(first <= second for first, second in itertools.pairwise(places))
    assert len(places) == 4
