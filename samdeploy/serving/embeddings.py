"""Images that are encoded already, as many as memory is set aside for."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from samdeploy.embedding import Embedding

#: Name of the model, and hash of the image's file.
Key = tuple[str, str]


class EmbeddingStore:
    """Embeddings by image, of which the one unused for longest goes first; for any thread."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._lock = Lock()
        self._kept: OrderedDict[Key, tuple[Embedding, int]] = OrderedDict()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """What the kept ones take."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Embedding | None:
        """The embedding of an image, if it is still here."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Key, embedding: Embedding, size: int) -> None:
        """Keep an embedding of ``size`` bytes, unless it alone is more than there is room for."""
        if size > self._most:
            return
        with self._lock:
            _, before = self._kept.pop(key, (None, 0))
            self._kept[key] = embedding, size
            self._bytes += size - before
            while self._bytes > self._most:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed
