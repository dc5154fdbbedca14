"""The cache: what changed since a revision, what nodes see of secrets."""

import pytest
from janua.config.v1.resource_pb2 import KIND_ROUTE, KIND_SECRET, KIND_SERVICE

from config_server.resources import Key
from config_server.type_view import Changed, TypeView
from config_server.wire import EncodedResource, encode_resource
from tests.config_server.stored import cache_of, change
from tests.config_server.worlds import ROUTE, SECRET, proxy_service, route, secret, service, upstream


def resource(name: str, version: str) -> EncodedResource:
    return encode_resource(type_url="t", name=name, version=version, body=b"")


def view_of(*steps: dict[str, str | None]) -> TypeView:
    """A view that has gone through the steps, one a revision; None removes a name."""
    view = TypeView("t")
    for revision, step in enumerate(steps, start=1):
        view.advance(revision)
        for name, version in step.items():
            if version is None:
                view.remove(name)
            else:
                view.put(resource(name, version))
    return view


def test_changes_tell_the_version_that_was_there_before() -> None:
    view = view_of({"a": "1", "b": "1"}, {"a": "2"}, {"b": None, "c": "1"})
    assert view.changes_since(1) == (Changed("a", "1"), Changed("b", "1"), Changed("c", None))
    assert view.changes_since(2) == (Changed("b", "1"), Changed("c", None))
    assert view.changes_since(3) == ()


def test_what_changed_and_changed_back_has_not_changed() -> None:
    view = view_of({"a": "1"}, {"a": "2"}, {"a": "1"}, {"b": "1"}, {"b": None})
    assert view.changes_since(1) == ()
    assert view.changes_since(2) == (Changed("a", "2"),)


def test_an_answer_is_not_kept_beyond_the_next_change() -> None:
    view = view_of({"a": "1"})
    assert view.changes_since(0) == (Changed("a", None),)
    view.advance(2)
    view.put(resource("b", "1"))
    assert view.changes_since(0) == (Changed("a", None), Changed("b", None))


def test_a_trimmed_log_is_not_asked_for_what_it_has_forgotten() -> None:
    view = view_of({"a": "1"}, {"a": "2"}, {"a": "3"})
    view.trim(2)
    assert view.log_length == 1
    assert view.changes_since(2) == (Changed("a", "2"),)
    with pytest.raises(ValueError, match="begins at revision 2"):
        view.changes_since(1)


def test_names_come_in_order_after_a_cursor() -> None:
    view = view_of({"b": "1", "a": "1", "c": "1"})
    assert list(view.names_after("")) == ["a", "b", "c"]
    assert list(view.names_after("b")) == ["c"]
    assert list(view.names_after("bb")) == ["c"]
    view.put(resource("bc", "1"))
    assert list(view.names_after("b")) == ["bc", "c"]


def test_only_secrets_that_a_service_names_are_shown() -> None:
    cache = cache_of(secret("used"), secret("unused"), proxy_service("p", secret="used"))
    view = cache.view(SECRET)
    assert view is not None
    assert list(view.names_after("")) == ["used"]
    change(cache, proxy_service("p", secret="unused"), proxy_service("q", secret="unused"))
    assert list(view.names_after("")) == ["unused"]
    change(cache, deletes=(Key(KIND_SERVICE, "p"),))
    assert list(view.names_after("")) == ["unused"]
    change(cache, deletes=(Key(KIND_SERVICE, "q"), Key(KIND_SECRET, "unused")))
    assert list(view.names_after("")) == []


def test_a_secret_made_after_its_use_is_shown() -> None:
    cache = cache_of(proxy_service("p", secret="later"))
    view = cache.view(SECRET)
    assert view is not None
    change(cache, secret("later"))
    assert list(view.names_after("")) == ["later"]


def test_a_list_of_keys_does_not_change_under_who_walks_it() -> None:
    cache = cache_of(upstream("u"), service("s"), route("b"))
    keys = cache.sorted_keys()
    change(cache, route("a"))
    assert [key.name for key in keys] == ["s", "u", "b"]
    assert [key.name for key in cache.sorted_keys()] == ["s", "u", "a", "b"]
    assert cache.messages[Key(KIND_ROUTE, "a")].name == "a"
    assert cache.view(ROUTE) is not None
    assert cache.view("unknown") is None
