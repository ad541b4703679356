from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from mlflow_drift import promote, rollback
from mlflow_drift.errors import InvalidInputError, NotFoundError, PromotionRefusedError
from mlflow_drift.registry import history
from mlflow_drift.registry.places import Place

CHAMPION = Place("alias", "champion")


@pytest.fixture
def lineage(gated: MlflowClient, make_version: Callable[..., str], prove: Callable[..., Any]) -> MlflowClient:
    """churn was served by versions 1, 2 and 3 in turn."""
    make_version(gated, "churn", "first")
    promote("churn", 1, bootstrap=True, client=gated)
    for version in (2, 3):
        make_version(gated, "churn", f"number {version}")
        prove(gated, "churn", str(version), str(version - 1))
        promote("churn", version, client=gated)
    return gated


def stack(client: MlflowClient, place: Place = CHAMPION) -> list[str]:
    return [entry.version for entry in history.load(client.get_registered_model("churn").tags, place)]


def holder(client: MlflowClient) -> str:
    return str(client.get_model_version_by_alias("churn", "champion").version)


def test_each_rollback_goes_one_champion_back(lineage: MlflowClient, events: Any) -> None:
    assert stack(lineage) == ["1", "2", "3"]
    assert rollback("churn", reason="it fell", client=lineage).previous_version == "3"
    assert (holder(lineage), stack(lineage)) == ("2", ["1", "2"])
    assert rollback("churn", client=lineage).version == "1"
    assert (holder(lineage), stack(lineage)) == ("1", ["1"])
    with pytest.raises(NotFoundError, match="version 1 is the first"):
        rollback("churn", client=lineage)
    assert events.names() == ["rolled_back", "rolled_back"]
    assert events.heard[0][1].reasons == (
        "version 2 is the recorded previous champion, its artifacts unaltered",
        "it fell",
    )
    assert "it fell" not in events.heard[1][1].reasons


def test_moving_the_alias_back_is_a_rollback(lineage: MlflowClient, events: Any) -> None:
    lineage.set_registered_model_alias("churn", "champion", "2")
    assert (events.names(), stack(lineage)) == (["rolled_back"], ["1", "2"])


def test_only_the_last_champion_may_come_back_unproven(lineage: MlflowClient) -> None:
    with pytest.raises(PromotionRefusedError):
        lineage.set_registered_model_alias("churn", "champion", "1")


def test_the_version_rolled_back_from_needs_fresh_evidence(
    lineage: MlflowClient, prove: Callable[..., Any]
) -> None:
    rollback("churn", client=lineage)
    with pytest.raises(
        PromotionRefusedError, match=r"the evidence is stale: made .*, but the champion changed "
    ):
        lineage.set_registered_model_alias("churn", "champion", "3")
    prove(lineage, "churn", "3", "2")
    promote("churn", 3, client=lineage)
    assert stack(lineage) == ["1", "2", "3"]


def test_a_reason_is_no_evidence(lineage: MlflowClient) -> None:
    rollback("churn", reason="it fell", client=lineage)
    rollback("churn", reason="it fell further", client=lineage)
    with pytest.raises(PromotionRefusedError, match="of kind 'rollback', which proves nothing"):
        promote("churn", 2, client=lineage)


def test_altered_artifacts_do_not_come_back(
    lineage: MlflowClient, artifacts: Callable[..., Path], events: Any, prove: Callable[..., Any]
) -> None:
    (artifacts(lineage, "churn", "2") / "weights.txt").write_text("worse")
    with pytest.raises(
        PromotionRefusedError, match=r"its artifacts have changed since: SHA-256 .* now, .* then"
    ):
        rollback("churn", client=lineage)
    with pytest.raises(PromotionRefusedError, match="champion before, but its artifacts have changed"):
        lineage.set_registered_model_alias("churn", "champion", "2")
    assert holder(lineage) == "3"
    assert events.names() == ["refused", "refused"]
    prove(lineage, "churn", "2", "3")
    assert promote("churn", 2, client=lineage).event == "promoted"


def test_a_deleted_champion_is_reported(lineage: MlflowClient) -> None:
    lineage.delete_model_version("churn", "2")
    with pytest.raises(NotFoundError, match="no version '2'"):
        rollback("churn", client=lineage)


def test_stages_roll_back_too(
    gated: MlflowClient, make_version: Callable[..., str], prove: Callable[..., Any]
) -> None:
    make_version(gated, "churn", "first")
    make_version(gated, "churn", "second")
    promote("churn", 1, stage="Production", bootstrap=True, client=gated)
    prove(gated, "churn", "2", "1")
    promote("churn", 2, stage="Production", client=gated)
    restored = rollback("churn", stage="production", client=gated)
    assert (restored.event, restored.kind, restored.target) == ("rolled_back", "stage", "Production")
    stages = {str(v): gated.get_model_version("churn", v).current_stage for v in ("1", "2")}
    assert stages == {"1": "Production", "2": "Archived"}
    assert stack(gated, Place("stage", "Production")) == ["1"]


def test_a_rollback_killed_between_its_two_writes_heals(lineage: MlflowClient, plain: MlflowClient) -> None:
    plain.set_registered_model_alias("churn", "champion", "2")  # the alias has moved, the history has not
    assert rollback("churn", client=lineage).version == "1"
    assert stack(lineage) == ["1"]


def test_bad_arguments_are_named(gated: MlflowClient) -> None:
    with pytest.raises(InvalidInputError, match="reason: must be text"):
        rollback("churn", reason=3, client=gated)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="'churn'"):
        rollback("churn", client=gated)
