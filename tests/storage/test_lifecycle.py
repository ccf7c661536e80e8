"""The lifecycle of an S3 store's buckets: what the operator wrote stays, and what would end bids is named."""

import io
import uuid

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from deploy.services.ceph import Ceph
from storage.s3 import S3Store
from storage.stores import object_store, parse_object_store

Rule = dict[str, object]
OWN: Rule = {
    "ID": "exploitant",
    "Status": "Enabled",
    "Filter": {"Prefix": "opened/"},
    "Expiration": {"Days": 4000},
}


@pytest.fixture
def store(db: None, ceph: Ceph, settings: Settings) -> S3Store:
    name = f"regles-{uuid.uuid4().hex[:12]}"
    settings.OBJECT_STORE = parse_object_store(f"{ceph.store_url(name)}&deposits={name}-plis")
    found = object_store()
    assert isinstance(found, S3Store)
    call_command("storage", "setup", stdout=io.StringIO())
    return found


def lay(store: S3Store, bucket: str, *added: Rule) -> None:
    rules = [*there(store, bucket), *added]
    store.call("put_bucket_lifecycle_configuration", bucket=bucket, LifecycleConfiguration={"Rules": rules})


def there(store: S3Store, bucket: str) -> list[Rule]:
    rules = store.call("get_bucket_lifecycle_configuration", bucket=bucket)["Rules"]
    assert isinstance(rules, list)
    return rules


def checked() -> str:
    out = io.StringIO()
    try:
        call_command("storage", "check", stdout=out)
    except CommandError as refused:
        out.write(str(refused))
    return out.getvalue()


def test_setup_keeps_the_operator_s_own_rules_and_writes_ours_again(store: S3Store) -> None:
    lay(store, store.bucket, OWN)
    call_command("storage", "setup", stdout=io.StringIO())
    assert {each["ID"] for each in there(store, store.bucket)} == {
        "exploitant",
        "abandoned-uploads",
        "destroyed-trials",
    }
    assert "NON : aucune règle" not in checked()


@pytest.mark.parametrize(
    "ends",
    [
        {"Filter": {"Prefix": ""}, "Expiration": {"Days": 30}},
        {"Filter": {"Prefix": "sealed/"}, "NoncurrentVersionExpiration": {"NoncurrentDays": 7}},
    ],
)
def test_a_rule_that_ends_what_was_deposited_is_named(store: S3Store, ends: Rule) -> None:
    lay(store, store.deposits, {"ID": "menage", "Status": "Enabled", **ends})
    said = checked()
    assert f"NON : aucune règle de {store.deposits} n'efface ce qui est déposé" in said
    assert "menage" in said


def test_uploads_that_end_too_soon_are_said(store: S3Store) -> None:
    soon = {"ID": "vite", "Status": "Enabled", "Filter": {"Prefix": "sealed/"}}
    lay(store, store.deposits, {**soon, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}})
    assert f"NON : {store.deposits} efface les envois abandonnés" in checked()
