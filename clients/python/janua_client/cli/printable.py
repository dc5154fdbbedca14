"""Text of others on a terminal. Imports nothing: `--help` and errors need it."""


def shown(text: str) -> str:
    """Text as it may stand on a terminal, whoever wrote it: what would move the cursor or turn the order of letters
    is escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in text)
