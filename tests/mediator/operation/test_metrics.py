"""The metrics: what they count, and that the documentation has each of them."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mediator.app import Mediator, running
from mediator.operation.metrics import described, markdown
from mediator.settings.config import Config
from messaging.message import Message
from tests.support.mediator_client import Party

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def mediator(tmp_path: Path) -> AsyncIterator[Mediator]:
    config = Config(
        tmp_path / "mediator.db", "127.0.0.1", 0, stun_ports=(0,), metrics=("127.0.0.1", 0)
    )
    async with running(config) as mediator:
        yield mediator


async def get(mediator: Mediator, path: str) -> tuple[int, str]:
    assert mediator.monitored_at is not None
    host, port = mediator.monitored_at
    async with aiohttp.ClientSession() as http, http.get(f"http://{host}:{port}{path}") as answer:
        return answer.status, await answer.text()


async def read(mediator: Mediator) -> dict[str, float]:
    """Each sample of ours by its name and labels' values."""
    status, text = await get(mediator, "/metrics")
    assert status == 200
    return {
        " ".join([sample.name.removeprefix("didmesh_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("didmesh_")
    }


async def test_messages_are_counted_by_type_and_outcome(mediator: Mediator, alice: Party) -> None:
    await alice.forward(alice.did, {"n": 1})
    await alice.problem(Message("https://didcomm.org/unheard-of/1.0/thing"))
    await alice.post(b"noise")
    metrics = await read(mediator)
    assert metrics["messages_total accepted routing/2.0/forward"] == 1
    assert metrics["messages_total e.p.msg.unsupported other"] == 1
    assert metrics["messages_total e.p.msg.malformed unopened"] == 1
    assert metrics["message_seconds_count routing/2.0/forward"] == 1
    assert metrics["http_responses_total 400"] == 1


async def test_queues_sockets_and_accounts_are_counted(mediator: Mediator, alice: Party) -> None:
    await alice.forward(alice.did, {"n": 1})
    async with alice.socket():
        metrics = await read(mediator)
    assert metrics["queue_messages"] == metrics["accounts"] == metrics["recipients"] == 1
    assert metrics["queue_bytes"] == 7
    assert metrics["sockets"] == metrics["live_accounts"] == 1
    assert metrics["draining"] == 0


async def test_what_strangers_write_never_becomes_a_label(mediator: Mediator, alice: Party) -> None:
    for number in range(5):
        await alice.problem(Message(f"https://didcomm.org/made-up-{number}/1.0/thing"))
    _, text = await get(mediator, "/metrics")
    assert "made-up" not in text
    assert "did:peer" not in text


async def test_metrics_are_not_for_strangers(mediator: Mediator, alice: Party) -> None:
    async with alice.http.get(f"{alice.url}/metrics") as answer:
        assert answer.status == 404


async def test_ready_means_that_the_store_can_be_written(
    mediator: Mediator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediator.operation.health.PATIENCE", 0.3)
    monkeypatch.setattr("mediator.operation.health.FRESH", 0.0)
    assert await get(mediator, "/readyz") == (200, '{"status":"ready"}')
    with sqlite3.connect(tmp_path / "mediator.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        status, text = await get(mediator, "/readyz")
        assert (status, json.loads(text)["status"]) == (503, "the store cannot be written")
        assert (await get(mediator, "/livez"))[0] == 200
        other.execute("ROLLBACK")
    other.close()
    assert (await get(mediator, "/readyz"))[0] == 200


def test_the_page_has_a_line_on_each_metric() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    found = re.search(r"<!-- metrics -->\n(.*?)<!-- /metrics -->", page, re.DOTALL)
    assert found, "docs/metrics.md has no table"
    assert found[1] == markdown(), "python -m mediator.operation.metrics prints the table of today"


async def test_no_metric_is_left_out_of_the_description(mediator: Mediator, alice: Party) -> None:
    _, text = await get(mediator, "/metrics")
    served = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE didmesh_")}
    assert served == {name for name, *_ in described()}


def test_the_dashboard_and_the_alerts_use_metrics_that_there_are() -> None:
    names = {name for name, *_ in described()}
    for file in ("mediator/deploy/grafana-dashboard.json", "mediator/deploy/alerts.yml"):
        text = (ROOT / file).read_text()
        used = {
            re.sub(r"_(bucket|count|sum)$", "", name)
            for name in re.findall(r"didmesh_[a-z_]+", text)
        } - {"didmesh_mediator"}
        assert used
        assert used <= names, file


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    board = json.loads((ROOT / "mediator/deploy/grafana-dashboard.json").read_text())
    assert board["schemaVersion"] >= 36
    assert board["templating"]["list"][0]["type"] == "datasource"
    places = set()
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["targets"] or panel["type"] == "row"
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & places, f"{panel['title']} lies over another"
        assert at["x"] + at["w"] <= 24
        places |= cells
