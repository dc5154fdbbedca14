"""CEL expressions in resources: whether they can be read. The library is imported when there is one."""

from collections.abc import Iterator

from janua_resources.violations import Problem


def check_expression(text: str, field: str) -> Iterator[Problem]:
    """What is wrong with an expression that stands in that field; nothing with an empty one."""
    if not text:
        return
    import cel

    try:
        cel.compile(text)
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        yield Problem(field=field, message=f"is not an expression of CEL: {reason}")
