from janua_resources.field_paths import child, entry, item


def test_paths_read_like_the_fields_are_written() -> None:
    assert child("", "endpoints") == "endpoints"
    assert child(item("endpoints", 1), "address") == "endpoints[1].address"
    assert entry(child("proxy_service", "headers"), 'x-"a"') == 'proxy_service.headers["x-\\"a\\""]'
