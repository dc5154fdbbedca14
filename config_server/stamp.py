"""What a write leaves on all that it writes."""

from dataclasses import dataclass
from datetime import datetime

from config_server.resources import Key, StoredEntry, digest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The revision that a write makes, when, and by whom."""

    revision: int
    time: datetime
    author: str

    def entry(
        self,
        key: Key,
        body: bytes,
        before: StoredEntry | None = None,
        *,
        digest: bytes | None = None,
        set_name: str = "",
    ) -> StoredEntry:
        """What is stored under `key` from now on; `before`: what was until now. `digest`: unless it is of the body."""
        return StoredEntry(
            key=key,
            body=body,
            digest=digest_of(body) if digest is None else digest,
            create_revision=self.revision if before is None else before.create_revision,
            revision=self.revision,
            create_time=self.time if before is None else before.create_time,
            update_time=self.time,
            author=self.author,
            set=set_name,
        )
