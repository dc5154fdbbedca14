"""Names of fields as lenient readers take them: servers written in Go go by a name in any case, some without `_`."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from gateway.errors import InvalidRequestError


@lru_cache(maxsize=1024)
def folded(name: str) -> str:
    """The same for all spellings of a name. Letters beyond ASCII count for those that they fold to, as the long s."""
    return name.casefold().replace("_", "").replace("-", "")


# What servers and models take for the limit of tokens beside, or before, the name that their dialect has for it:
# llama.cpp, Ollama, TabbyAPI, LMDeploy, and the models on Bedrock.
_LIMITS: Final = frozenset(
    map(
        folded,
        (
            "max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict", "num_predict", "max_length",
            "max_new_tokens", "max_gen_len", "max_token_count", "max_tokens_to_sample",
        ),
    )
)  # fmt: skip


def is_limit(name: str) -> bool:
    """Whether some server takes a field of that name for the most tokens that an answer may have."""
    return folded(name) in _LIMITS


def refuse_other_spellings(own: Iterable[str], known: Iterable[str], place: str = "") -> None:
    """Refuses fields that only the caller knows, at the place given with a dot at its end, where a backend may take
    them for known ones: what policies have checked would not be what counts. Raises `InvalidRequestError`."""
    by_folded = {folded(name): name for name in known}
    for name in own:
        meant = by_folded.get(folded(name), name)
        if meant != name:
            raise InvalidRequestError(
                f"'{place}{name}' is '{place}{meant}' in other letters, by which some servers would go",
                param=f"{place}{name}",
            )
