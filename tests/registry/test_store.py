from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.exceptions import MlflowException
from mlflow.prompt.constants import IS_PROMPT_TAG_KEY
from mlflow.store.model_registry.abstract_store import AbstractStore
from mlflow.store.model_registry.rest_store import RestStore
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

import mlflow_drift
from mlflow_drift import hooks
from mlflow_drift.errors import InvalidInputError, NotFoundError, PromotionRefusedError
from mlflow_drift.registry.evidence import EVIDENCE_TAG, check_bound
from mlflow_drift.registry.store import build_store, inner_uri
from mlflow_drift.values import Outcome

CHAMPION = "champion"


def crowned(client: MlflowClient, make_version: Callable[..., str], name: str = "churn") -> str:
    version = make_version(client, name, "old")
    mlflow_drift.promote(name, version, bootstrap=True, client=client)
    return version


@pytest.mark.parametrize(
    "uri", ["drift:", "drift: ", None, "sqlite:///x.db", "drift:drift:sqlite:///x.db", 3]
)
def test_an_address_without_a_registry_is_refused(uri: Any) -> None:
    with pytest.raises(InvalidInputError, match="store_uri: must be drift:<registry URI>"):
        inner_uri(uri)


@pytest.mark.parametrize(
    "uri", ["drift:mlruns", "drift:/srv/mlruns", "drift:file:///srv/mlruns", "drift:./x"]
)
def test_a_folder_is_refused_with_the_way_out(uri: str) -> None:
    with pytest.raises(InvalidInputError, match=r"plain folders no longer.*drift:sqlite:///mlflow.db"):
        build_store(uri)


def test_an_unknown_scheme_is_mlflows_own_error() -> None:
    with pytest.raises(MlflowException, match="nosuch"):
        build_store("drift:nosuch://x")


def test_a_broken_setting_stops_the_store(monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    monkeypatch.setenv("MLFLOW_DRIFT_GATE", "sometimes")
    with pytest.raises(InvalidInputError, match="gate"):
        build_store(f"drift:{database}")


def test_both_inner_stores_keep_their_class(database: str) -> None:
    assert isinstance(build_store(f"drift:{database}"), SqlAlchemyStore)
    assert isinstance(build_store("drift:http://127.0.0.1:1"), RestStore)


@pytest.mark.parametrize("inner", ["sqlite", "http"])
def test_every_method_of_a_store_is_answered(database: str, inner: str) -> None:
    store = build_store(f"drift:{database}" if inner == "sqlite" else "drift:http://127.0.0.1:1")
    for name, function in inspect.getmembers(AbstractStore, inspect.isfunction):
        if getattr(function, "__isabstractmethod__", False):
            behind = [cls for cls in type(store).__mro__ if name in vars(cls)]
            assert behind[0] is not AbstractStore, name
            assert any(cls in (SqlAlchemyStore, RestStore) for cls in behind), name


def test_a_pickled_store_comes_back_gated(database: str) -> None:
    store = pickle.loads(pickle.dumps(build_store(f"drift:{database}", database)))
    store.create_registered_model("churn")
    with pytest.raises(PromotionRefusedError):
        store.set_registered_model_tag("churn", RegisteredModelTag("mlflow_drift.x", "1"))


def test_importing_the_plugin_is_light() -> None:
    code = (
        "import sys, mlflow_drift.registry.store as s;"
        "print([m for m in ('torch', 'river', 'pandas', 'scipy', 'sklearn', 'pluggy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unproven_version_is_refused_and_told_what_to_do(
    gated: MlflowClient, make_version: Callable[..., str], events: Any
) -> None:
    crowned(gated, make_version)
    version = make_version(gated, "churn", "new")
    with pytest.raises(PromotionRefusedError) as refusal:
        gated.set_registered_model_alias("churn", CHAMPION, version)
    assert refusal.value.error_code == "RESOURCE_CONFLICT"
    assert refusal.value.message == (
        "mlflow-drift refused to make 'churn' version 2 the alias 'champion': version 2 carries no evidence that it "
        "beats the champion, version 1. Run `mlflow-drift validate churn --challenger 2`."
    )
    assert events.names() == ["promoted", "refused"]
    assert str(gated.get_model_version_by_alias("churn", CHAMPION).version) == "1"


def test_other_aliases_are_free(gated: MlflowClient, make_version: Callable[..., str], events: Any) -> None:
    version = make_version(gated, "churn")
    gated.set_registered_model_alias("churn", "challenger", version)
    gated.delete_registered_model_alias("churn", "challenger")
    assert events.heard == []


def test_evidence_opens_the_gate_to_a_bare_client(
    gated: MlflowClient, make_version: Callable[..., str], prove: Callable[..., Any], events: Any
) -> None:
    crowned(gated, make_version)
    version = make_version(gated, "churn", "new")
    prove(gated, "churn", version, "1")
    gated.set_registered_model_alias("churn", CHAMPION, version)
    assert str(gated.get_model_version_by_alias("churn", CHAMPION).version) == version
    assert events.names() == ["promoted", "promoted"]
    assert events.heard[-1][1].previous_version == "1"


def test_moving_the_alias_to_where_it_is_changes_nothing(
    gated: MlflowClient, make_version: Callable[..., str], events: Any
) -> None:
    version = crowned(gated, make_version)
    gated.set_registered_model_alias("churn", CHAMPION, version)
    assert events.names() == ["promoted"]


@pytest.mark.parametrize(
    "way_around",
    [
        lambda client: client.delete_registered_model_alias("churn", CHAMPION),
        lambda client: client.delete_model_version("churn", "1"),
        lambda client: client.delete_registered_model("churn"),
        lambda client: client.rename_registered_model("churn", "other"),
        lambda client: client.set_registered_model_alias("churn", "Champion", "2"),
        lambda client: client.set_registered_model_tag("churn", "mlflow_drift.history.alias.champion", "[]"),
        lambda client: client.set_registered_model_tag("churn", "MLflow_Drift.history.alias.champion", "[]"),
        lambda client: client.delete_registered_model_tag("churn", "mlflow_drift.history.alias.champion"),
        lambda client: client.set_model_version_tag("churn", "2", "mlflow_drift.anything", "1"),
        lambda client: client.delete_model_version_tag("churn", "2", "mlflow_drift.anything"),
        lambda client: client.set_model_version_tag("churn", "2", EVIDENCE_TAG, "passed"),
        lambda client: client.delete_model_version_tag("churn", "2", EVIDENCE_TAG),
        lambda client: client.set_registered_model_tag("churn", IS_PROMPT_TAG_KEY, "true"),
        lambda client: client.set_registered_model_tag("churn", "MLflow.prompt.is_prompt", "true"),
        lambda client: client.delete_registered_model_tag("churn", IS_PROMPT_TAG_KEY),
    ],
)
def test_ways_around_the_gate_are_closed(
    gated: MlflowClient,
    make_version: Callable[..., str],
    way_around: Callable[[MlflowClient], Any],
    events: Any,
) -> None:
    crowned(gated, make_version)
    make_version(gated, "churn", "new")
    with pytest.raises(PromotionRefusedError, match="mlflow-drift refused") as refusal:
        way_around(gated)
    assert str(gated.get_model_version_by_alias("churn", CHAMPION).version) == "1"
    assert events.names() == ["promoted", "refused"]
    told = events.heard[-1][1]
    assert (told.name, told.kind, told.previous_version, told.event) == ("churn", "request", None, "refused")
    assert told.version in ("", "1", "2")
    assert told.target
    assert told.reasons == (refusal.value.message,)


@pytest.mark.parametrize("failure", [RuntimeError("disk full"), SystemExit("bye")])
def test_a_refusal_that_cannot_be_announced_is_one_all_the_same(
    gated: MlflowClient,
    make_version: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
) -> None:
    crowned(gated, make_version)

    def fail(event: str, **payload: Any) -> None:
        raise failure

    monkeypatch.setattr(hooks, "announce", fail)
    with pytest.raises(PromotionRefusedError, match="refused to delete it"):
        gated.delete_model_version("churn", "1")


def test_a_model_without_champion_may_be_renamed_and_deleted(
    gated: MlflowClient, make_version: Callable[..., str]
) -> None:
    make_version(gated, "churn")
    gated.rename_registered_model("churn", "other")
    gated.delete_model_version("other", "1")
    gated.delete_registered_model("other")


def test_what_does_not_exist_is_the_stores_own_error(
    gated: MlflowClient, make_version: Callable[..., str]
) -> None:
    make_version(gated, "churn")
    for call in (
        lambda: gated.set_registered_model_alias("nosuch", CHAMPION, "1"),
        lambda: gated.set_registered_model_alias("churn", CHAMPION, "99"),
        lambda: gated.delete_model_version("nosuch", "1"),
        lambda: gated.delete_model_version("churn", "99"),
        lambda: gated.delete_registered_model("nosuch"),
        lambda: gated.transition_model_version_stage("churn", "99", "Production"),
    ):
        with pytest.raises(MlflowException, match="not found") as error:
            call()
        assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_new_models_and_versions_lose_reserved_tags(
    gated: MlflowClient, make_version: Callable[..., str]
) -> None:
    gated.create_registered_model("churn", {"mlflow_drift.history.alias.champion": "[]", "team": "a"})
    assert gated.get_registered_model("churn").tags == {"team": "a"}
    version = make_version(gated, "churn", tags={EVIDENCE_TAG: "forged", "stage": "x"})
    assert gated.get_model_version("churn", version).tags == {"stage": "x"}


def test_a_copy_does_not_inherit_evidence(
    gated: MlflowClient, make_version: Callable[..., str], prove: Callable[..., Any]
) -> None:
    crowned(gated, make_version)
    version = make_version(gated, "churn", "new")
    prove(gated, "churn", version, "1")
    copied = gated.copy_model_version(f"models:/churn/{version}", "churn")
    assert EVIDENCE_TAG not in copied.tags
    with pytest.raises(PromotionRefusedError, match="carries no evidence"):
        gated.set_registered_model_alias("churn", CHAMPION, copied.version)


def test_evidence_of_another_version_is_not_even_written(
    gated: MlflowClient, make_version: Callable[..., str], prove: Callable[..., Any]
) -> None:
    crowned(gated, make_version)
    proven, other = make_version(gated, "churn", "new"), make_version(gated, "churn", "other")
    prove(gated, "churn", proven, "1")
    text = gated.get_model_version("churn", proven).tags[EVIDENCE_TAG]
    with pytest.raises(
        PromotionRefusedError, match="must be about 'churn' version 3; got evidence about 'churn' version 2"
    ):
        gated.set_model_version_tag("churn", other, EVIDENCE_TAG, text)


def test_older_evidence_does_not_replace_newer(
    database: str,
    plain: MlflowClient,
    make_version: Callable[..., str],
    prove: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_DRIFT_EVIDENCE_KEY", "secret")
    version = make_version(plain, "churn", "new")
    passed, failed = (
        json.dumps(prove(plain, "churn", version, "9", outcome=outcome))
        for outcome in (Outcome.PASS, Outcome.FAIL)
    )
    store = build_store(f"drift:{database}", database)
    store.set_model_version_tag("churn", version, ModelVersionTag(EVIDENCE_TAG, failed))  # the same again
    with pytest.raises(
        PromotionRefusedError, match=r"before the evidence the version carries .* --challenger 1` anew\."
    ):
        store.set_model_version_tag("churn", version, ModelVersionTag(EVIDENCE_TAG, passed))
    with pytest.raises(PromotionRefusedError):
        store.delete_model_version_tag("churn", version, EVIDENCE_TAG)
    assert plain.get_model_version("churn", version).tags[EVIDENCE_TAG] == failed
    unsigned = json.dumps(json.loads(failed) | {"signature": "", "created": "2999-01-01T00:00:00+00:00"})
    plain.set_model_version_tag(
        "churn", version, EVIDENCE_TAG, unsigned
    )  # what nobody believes blocks nobody
    store.set_model_version_tag("churn", version, ModelVersionTag(EVIDENCE_TAG, passed))


def test_stages_are_gated_alike(
    gated: MlflowClient, make_version: Callable[..., str], prove: Callable[..., Any], events: Any
) -> None:
    old, new = make_version(gated, "churn", "old"), make_version(gated, "churn", "new")
    gated.transition_model_version_stage("churn", old, "Staging")
    with pytest.raises(PromotionRefusedError, match=r"promote churn 1 --bootstrap --stage Production"):
        gated.transition_model_version_stage("churn", old, "production")
    mlflow_drift.promote("churn", old, stage="production", bootstrap=True, client=gated)
    with pytest.raises(PromotionRefusedError, match=r"validate churn --challenger 2 --champion 1"):
        gated.transition_model_version_stage("churn", new, "Production", archive_existing_versions=True)
    for stage in ("Archived", "None"):
        with pytest.raises(PromotionRefusedError, match="holds the stage 'Production'"):
            gated.transition_model_version_stage("churn", old, stage)
    with pytest.raises(PromotionRefusedError, match="holds the stage"):
        gated.delete_model_version("churn", old)
    prove(gated, "churn", new, "1")
    gated.transition_model_version_stage("churn", new, "PRODUCTION", archive_existing_versions=True)
    assert gated.get_model_version("churn", old).current_stage == "Archived"
    assert gated.get_model_version("churn", new).current_stage == "Production"
    gated.transition_model_version_stage("churn", old, "None")
    assert events.names() == ["refused", "promoted", *["refused"] * 4, "promoted"]


def test_an_older_version_cannot_stand_behind_a_newer_one_in_a_stage(
    gated: MlflowClient, make_version: Callable[..., str], prove: Callable[..., Any]
) -> None:
    old, new = make_version(gated, "churn", "old"), make_version(gated, "churn", "new")
    mlflow_drift.promote("churn", new, stage="Production", bootstrap=True, client=gated)
    prove(gated, "churn", old, new)
    with pytest.raises(PromotionRefusedError, match="archive_existing_versions=True"):
        gated.transition_model_version_stage("churn", old, "Production")
    gated.transition_model_version_stage("churn", old, "Production", archive_existing_versions=True)


def test_prompts_are_none_of_our_business(gated: MlflowClient, events: Any) -> None:
    gated.create_prompt("hello")
    gated.create_prompt_version("hello", "Hello {{name}}")
    gated.set_prompt_alias("hello", CHAMPION, 1)
    gated.create_prompt_version("hello", "Hi {{name}}")
    gated.set_prompt_alias("hello", CHAMPION, 2)
    gated.delete_prompt_alias("hello", CHAMPION)
    assert events.heard == []


def test_prompts_as_mlflows_client_registers_them(database: str, events: Any) -> None:
    mlflow.set_tracking_uri(database)
    mlflow.set_registry_uri(f"drift:{database}")
    try:
        for template in ("Hello {{name}}", "Hi {{name}}"):
            prompt = mlflow.genai.register_prompt("hello", template)
            mlflow.genai.set_prompt_alias("hello", CHAMPION, prompt.version)
        assert mlflow.genai.load_prompt("prompts:/hello@champion").template == "Hi {{name}}"
        # The client hides prompts among models.
        assert build_store(f"drift:{database}").get_model_version("hello", "2").source == "dummy-source"
        mlflow.genai.delete_prompt_alias("hello", CHAMPION)
    finally:
        mlflow.set_registry_uri(None)
    assert events.heard == []


@pytest.mark.parametrize("source", ["prompt-template", "dummy-source"])
def test_a_model_in_a_prompts_clothes_is_still_gated(
    source: str, gated: MlflowClient, database: str, make_version: Callable[..., str], events: Any
) -> None:
    crowned(gated, make_version)
    prompt = ModelVersionTag(IS_PROMPT_TAG_KEY, "true")
    store = build_store(f"drift:{database}", database)  # unlike the client, looks at no tags first
    with pytest.raises(PromotionRefusedError, match="it is a model, no prompt"):
        store.create_model_version("churn", source, tags=[prompt])
    assert events.heard[-1][1].target == "create a prompt version"
    plain = SqlAlchemyStore(database)  # what was made before the gate was there
    version = str(plain.create_model_version("churn", source, tags=[prompt]).version)
    for way_around in (
        lambda: store.set_registered_model_tag("churn", RegisteredModelTag(IS_PROMPT_TAG_KEY, "true")),
        lambda: store.set_registered_model_alias("churn", CHAMPION, version),
        lambda: store.transition_model_version_stage("churn", version, "Production", True),
    ):
        with pytest.raises(PromotionRefusedError):
            way_around()
    plain.set_registered_model_alias("churn", CHAMPION, version)
    for way_around in (
        lambda: store.delete_registered_model_alias("churn", CHAMPION),
        lambda: store.delete_model_version("churn", version),
        lambda: store.delete_registered_model("churn"),
        lambda: store.rename_registered_model("churn", "other"),
    ):
        with pytest.raises(PromotionRefusedError):
            way_around()


def test_a_model_version_in_a_prompt_is_still_gated(gated: MlflowClient, database: str) -> None:
    gated.create_prompt("hello")
    store = build_store(f"drift:{database}", database)
    prompt = ModelVersionTag(IS_PROMPT_TAG_KEY, "true")
    version = store.create_model_version("hello", "/nowhere/real", tags=[prompt]).version
    with pytest.raises(PromotionRefusedError, match=r"artifacts .* could not be read"):
        store.set_registered_model_alias("hello", CHAMPION, version)


def test_commands_are_quoted_for_the_shell(gated: MlflowClient, make_version: Callable[..., str]) -> None:
    name = "churn; rm -rf $HOME"
    crowned(gated, make_version, name)
    version = make_version(gated, name, "new")
    with pytest.raises(PromotionRefusedError, match=r"validate 'churn; rm -rf \$HOME' --challenger 2`"):
        gated.set_registered_model_alias(name, CHAMPION, version)
    with pytest.raises(
        PromotionRefusedError,
        match=r"promote 'churn; rm -rf \$HOME' VERSION` or `mlflow-drift rollback 'churn; rm -rf \$HOME'`",
    ):
        gated.delete_model_version(name, "1")
    with pytest.raises(InvalidInputError, match=r"validate 'churn; rm -rf \$HOME' --challenger 2`"):
        mlflow_drift.promote(name, version, bootstrap=True, client=gated)
    with pytest.raises(NotFoundError, match=r"promote 'churn; rm -rf \$HOME' VERSION --alias 'a b'`"):
        mlflow_drift.rollback(name, alias="a b", client=gated)
    about_other = json.loads(gated.get_model_version(name, "1").tags[EVIDENCE_TAG])
    with pytest.raises(InvalidInputError, match=r"validate 'churn; rm -rf \$HOME' --challenger 2`"):
        check_bound(about_other, name, version)


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_modes_that_allow(
    mode: str,
    database: str,
    plain: MlflowClient,
    make_version: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    events: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_DRIFT_GATE", mode)
    store = build_store(f"drift:{database}", database)
    make_version(plain, "churn", "old")
    make_version(plain, "churn", "new")
    for version in ("1", "2"):
        store.set_registered_model_alias("churn", CHAMPION, version)
    assert events.names() == ["promoted", "promoted"]
    warned = [record.getMessage() for record in caplog.records if "would refuse" in record.getMessage()]
    assert len(warned) == (2 if mode == "warn" else 0)
    # What was recorded meanwhile serves a rollback.
    assert mlflow_drift.rollback("churn", client=plain).version == "1"
    store.delete_registered_model_alias("churn", CHAMPION)
