"""Resolvers that know what a test tells them."""

from collections.abc import Iterable

from identity.document import DidDocument
from resolvers.resolver import ErrorType, ResolutionError


class FixedResolver:
    """Knows the documents it was made with; `asked` lists the DIDs it was asked for."""

    def __init__(self, documents: Iterable[DidDocument] = ()) -> None:
        self.documents = {document.id: document for document in documents}
        self.asked: list[str] = []

    async def resolve(self, did: str) -> DidDocument:
        self.asked.append(did)
        if did not in self.documents:
            raise ResolutionError(did, ErrorType.NOT_FOUND, "not among the fixed documents")
        return self.documents[did]
