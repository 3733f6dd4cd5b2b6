"""What a mediator has counted."""

from __future__ import annotations

from mediator.app import Mediator


def carried(mediator: Mediator, outcome: str) -> float:
    """Tries to pass a message on that were `sent`, `failed` or `dropped`."""
    labels = {"outcome": outcome}
    return mediator.metrics.registry.get_sample_value("didmesh_carried_total", labels) or 0
