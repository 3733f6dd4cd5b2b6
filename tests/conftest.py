"""Which tests can run here; a test that cannot says why."""

import os

import pytest
from hypothesis import settings

settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    reason = pytest.mark.skip(reason="needs root: it makes network namespaces")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(reason)
