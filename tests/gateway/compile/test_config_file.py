"""A configuration file: taken as a whole or not at all, with the place of every fault."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.bootstrap import ConfigFileError
from gateway.compile.config_file import load_config_file
from gateway.compile.node_config import ConfigListener, NodeConfig
from gateway.config.snapshot import Snapshot
from tests.gateway.compile.resources import empty_table, names

GOOD = """\
upstreams:
- name: pool
  endpoints: [{address: "127.0.0.1:9001"}]
services:
- name: llm
  upstream_service: {upstream: pool}
routes:
- name: chat
  match: {models: ["gemma-*"]}
  backends: [{service: llm}]
"""

# A cache has vectors made by a service that names the cache.
CYCLE = """\
upstreams:
- name: pool
  endpoints: [{address: "127.0.0.1:9001"}]
services:
- {name: embedder, policies: [kept], upstream_service: {upstream: pool}}
policies:
- {name: kept, cache: {ttl: 60s, semantic: {service: embedder, model: vectors}}}
"""


class Node:
    """A configuration and what it has published."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.snapshots: list[Snapshot] = []
        listener = ConfigListener(
            prepare=lambda _: (),
            on_snapshot=self.snapshots.append,
            on_secret_names=lambda: None,
            on_recovered=lambda type_url, recovered: None,
        )
        self.config = NodeConfig(empty_table(), listener)

    def load(self, text: str) -> None:
        self.path.write_text(text, "utf-8")
        load_config_file(self.path, self.config)

    def refused(self, text: str) -> str:
        """What is said of a file that is not taken, the place of the file left out."""
        with pytest.raises(ConfigFileError) as caught:
            self.load(text)
        return str(caught.value).replace(str(self.path), "FILE")

    @property
    def in_use(self) -> dict[str, list[str]]:
        return names(self.snapshots[-1])


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "janua.yaml")


ALL = {"upstreams": ["pool"], "services": ["llm"], "routes": ["chat"]}


def test_file_is_the_whole_configuration(node: Node) -> None:
    node.load(GOOD)
    assert node.in_use == ALL
    assert node.config.is_started
    node.load(GOOD.split("routes:")[0])
    assert node.in_use == {"upstreams": ["pool"], "services": ["llm"]}
    assert len(node.snapshots) == 2


def test_same_file_again_changes_nothing(node: Node) -> None:
    node.load(GOOD)
    node.load(f"# a comment\n{GOOD}")
    assert len(node.snapshots) == 1


def test_empty_file_is_an_empty_configuration(node: Node) -> None:
    node.load("")
    assert node.in_use == {}
    assert node.config.is_started


def test_variables_of_the_environment_are_filled_in(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL", "127.0.0.1:7")
    node.load(GOOD.replace("127.0.0.1:9001", "${POOL}"))
    assert node.snapshots[-1].upstreams["pool"].endpoints[0].address == "127.0.0.1:7"


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        pytest.param(": : :", ["FILE:1:"], id="no YAML"),
        pytest.param("- a", ["FILE:1:1: "], id="no mapping"),
        pytest.param(GOOD.replace("endpoints", "endpionts"), ["FILE:3:3: ", "endpoints"], id="unknown field"),
        pytest.param(GOOD.replace("127.0.0.1:9001", "nowhere"), ["FILE:3:16: ", "no port"], id="bad address"),
        pytest.param(GOOD.replace("name: pool", "name: Pool!"), ["FILE:2:"], id="bad name"),
        pytest.param(GOOD.replace("upstream: pool", "upstream: pol"), ["FILE:6:", "pol"], id="dangling reference"),
        pytest.param(GOOD + GOOD.split("routes:\n")[1], ["FILE:11:", "chat"], id="duplicate name"),
        pytest.param(
            GOOD + GOOD.split("routes:\n")[1].replace("name: chat", "name: other"), ["FILE:", "chat"], id="same match"
        ),
        pytest.param(GOOD + "policies: [{name: p}]\n", ["FILE:11:"], id="policy without a kind"),
        pytest.param(
            GOOD.replace("{upstream: pool}", "{upstream: pool}\n  fallback: {service: llm}"),
            ["FILE:7:3: ", "fallback"],
            id="fallback of a service",
        ),
        pytest.param(CYCLE, ["FILE:5:31: ", "which is for routes, not for a service"], id="cycle"),
        pytest.param(
            GOOD + "secrets: [{name: key, env: NO_SUCH_VARIABLE_OF_JANUA}]\n",
            ["FILE: key SECRET_UNREADABLE env: environment variable NO_SUCH_VARIABLE_OF_JANUA is not set on this node"],
            id="unreadable secret",
        ),
    ],
)
def test_bad_file_is_refused_with_its_place_and_changes_nothing(node: Node, text: str, complaints: list[str]) -> None:
    node.load(GOOD)
    said = node.refused(text)
    assert all(complaint in said for complaint in complaints), said
    assert node.in_use == ALL
    assert len(node.snapshots) == 1
    assert node.config.table.all_rejections == []
    node.load(GOOD.replace("chat", "talk"))
    assert node.in_use == ALL | {"routes": ["talk"]}


def test_all_faults_are_told_at_once(node: Node) -> None:
    said = node.refused(GOOD.replace("127.0.0.1:9001", "nowhere").replace('"gemma-*"', '"g*a"').replace("chat", "Chat"))
    assert len(said.splitlines()) >= 2


def make_nothing(path: Path) -> None:
    pass


def make_directory(path: Path) -> None:
    path.mkdir()


def make_binary(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (make_nothing, "no such file or directory"),
        (make_directory, "is a directory"),
        (make_binary, "not UTF-8 text"),
    ],
)
def test_file_that_cannot_be_read(node: Node, make: Callable[[Path], None], complaint: str) -> None:
    make(node.path)
    with pytest.raises(ConfigFileError) as caught:
        load_config_file(node.path, node.config)
    assert str(caught.value) == f"{node.path}: {complaint}"
    assert node.snapshots == []
    assert not node.config.is_started


def test_bad_file_at_the_start_starts_nothing(node: Node) -> None:
    node.refused(GOOD.replace("pool}", "pol}"))
    assert node.snapshots == []
    assert not node.config.is_started
