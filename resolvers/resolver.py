"""What every resolver is: a DID in, its document or a named failure out.

Source: W3C DID Resolution 1.0, https://www.w3.org/TR/did-resolution/
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from identity.did import shorten
from identity.document import DidDocument


class ErrorType(StrEnum):
    INVALID_DID = "https://www.w3.org/ns/did#INVALID_DID"
    NOT_FOUND = "https://www.w3.org/ns/did#NOT_FOUND"
    METHOD_NOT_SUPPORTED = "https://www.w3.org/ns/did#METHOD_NOT_SUPPORTED"
    INVALID_DID_DOCUMENT = "https://www.w3.org/ns/did#INVALID_DID_DOCUMENT"
    INTERNAL_ERROR = "https://www.w3.org/ns/did#INTERNAL_ERROR"


class ResolutionError(Exception):
    """`did` has no document that we may use; `type` says whose fault that is."""

    def __init__(self, did: str, type: ErrorType, detail: str) -> None:
        super().__init__(f"cannot resolve {shorten(did)}: {detail}")
        self.did = did
        self.type = type
        self.detail = detail


class Resolver(Protocol):
    async def resolve(self, did: str) -> DidDocument:
        """The document of `did`. Raises: ResolutionError, and nothing else."""
        ...


@dataclass(frozen=True)
class ResolutionResult:
    """A resolution as the specification's JSON: one of the two is there."""

    document: DidDocument | None
    error: ResolutionError | None = None

    def to_json(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        if self.error is not None:
            title = self.error.type.name.replace("_", " ").lower()
            metadata["error"] = {
                "type": self.error.type.value,
                "title": title,
                "detail": self.error.detail,
            }
        else:
            metadata["contentType"] = "application/did"
        return {
            "@context": "https://w3id.org/did-resolution/v1",
            "didDocument": None if self.document is None else self.document.to_json(),
            "didDocumentMetadata": {},
            "didResolutionMetadata": metadata,
        }
