"""Texts that are judged elsewhere, all at once: on the first way through what they stand in they are collected, on the
second replaced. Both ways must be the same."""

from collections.abc import Sequence


class CollectedTexts:
    """Notes texts, and leaves them as they are."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mask(self, text: str) -> str:
        """The very same."""
        if text:
            self.texts.append(text)
        return text


class JudgedTexts:
    """Puts what was judged of the texts in their places."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = iter(texts)

    def mask(self, text: str) -> str:
        """What goes on of the text; the very same if it is as it was."""
        if not text:
            return text
        judged = next(self._texts)
        return text if judged == text else judged
