"""The buckets of an S3 store: made, and looked at. What a store says is read back, never assumed.

The deposits' bucket is versioned and locked (object lock, COMPLIANCE, default retention). Both take parts
from the pages of the site only, and abort an upload that nobody finishes after a while.
"""

import contextlib
import hashlib
import io
import os
import ssl
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

from storage.errors import ObjectMissing, StorageError, StoreUnavailable
from storage.findings import Finding
from storage.objects import Part
from storage.s3 import LOCKED, S3Store

TRIAL = "trial/"  # keys of what is deposited to try, and destroyed

ABORT_DAYS = 90  # longer than a consultation usually receives bids
_ABANDONED: dict[str, object] = {
    "ID": "abandoned-uploads",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_DAYS},
}
# What is deleted where versions are kept stays readable: destroyed trials go for good a day later.
_TRIALS: dict[str, object] = {
    "ID": "destroyed-trials",
    "Status": "Enabled",
    "Filter": {"Prefix": TRIAL},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    "Expiration": {"ExpiredObjectDeleteMarker": True},
}
_UNREACHED = (
    " : vérifiez public=… et l'heure du serveur, et que les postes connaissent l'autorité de son certificat, "
    "ou direct=0."
)
_PROBE = LOCKED + "probe"  # of the deposits' bucket: kept under its lock, a few bytes


def setup(store: S3Store, *, site: str, retention_days: int) -> list[str]:
    """Make what is absent, set what is not; sentences that say what was done. May run twice.

    `site` is the origin of the pages; the lock's retention is never shortened. Raises StoreUnavailable: a
    bucket that was made without object lock cannot be given one.
    """
    done = []
    locks = store.deposits != store.bucket and retention_days > 0
    for bucket in dict.fromkeys([store.bucket, store.deposits]):
        locked = locks and bucket == store.deposits
        if not _exists(store, bucket):
            lock = {"ObjectLockEnabledForBucket": True} if locked else {}
            store.call("create_bucket", bucket=bucket, **lock)
            done.append(f"{bucket} : créé{', avec verrou' if locked else ''}.")
        if not locked:  # a lock comes with versions
            versions = {"Status": "Enabled"}
            store.call("put_bucket_versioning", bucket=bucket, VersioningConfiguration=versions)
        rules = {"Rules": _merged(_rules(store, bucket), _asked(store, bucket))}
        store.call("put_bucket_lifecycle_configuration", bucket=bucket, LifecycleConfiguration=rules)
        done.append(f"{bucket} : versions gardées, envois abandonnés effacés après {ABORT_DAYS} jours.")
        if bucket == store.bucket:
            done.append(f"{bucket} : dépôts d'essai détruits effacés pour de bon le lendemain.")
        if store.direct:
            cors = {
                "AllowedOrigins": [site],
                "AllowedMethods": ["PUT"],
                "AllowedHeaders": ["*"],
                "MaxAgeSeconds": 3600,
            }
            store.call("put_bucket_cors", bucket=bucket, CORSConfiguration={"CORSRules": [cors]})
            done.append(f"{bucket} : envois acceptés depuis {site} seulement.")
    if locks:
        days = max(retention_days, _retention(store) or 0)
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": days}}
        lock_rule = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        store.call("put_object_lock_configuration", bucket=store.deposits, ObjectLockConfiguration=lock_rule)
        done.append(f"{store.deposits} : verrou COMPLIANCE de {days} jours sur chaque objet.")
    return done


def check(store: S3Store, *, site: str, retention_days: int) -> Iterator[Finding]:
    """What the store really does. Writes one small object, which its lock then keeps."""
    for bucket in dict.fromkeys([store.bucket, store.deposits]):
        there = _exists(store, bucket)
        yield Finding(f"{bucket} existe", there, "manage.py storage setup")
        if not there:
            return
        status = store.call("get_bucket_versioning", bucket=bucket).get("Status")
        yield Finding(f"{bucket} garde les versions", status == "Enabled", "manage.py storage setup")
        rules = [each for each in _rules(store, bucket) if each.get("Status") == "Enabled"]
        aborts = [each["AbortIncompleteMultipartUpload"] for each in rules if _aborts(each)]
        shortest = min((_days(each, "DaysAfterInitiation") for each in aborts), default=0)
        yield Finding(
            f"{bucket} efface les envois abandonnés, pas avant {ABORT_DAYS} jours",
            shortest >= ABORT_DAYS,
            f"manage.py storage setup, puis retirez les règles plus courtes ({shortest} jours)"
            if aborts
            else "manage.py storage setup",
        )
        ending = [each for each in rules if _expires(each, before=retention_days)]
        expiring = ", ".join(str(each.get("ID", "sans nom")) for each in ending)
        what = f"aucune règle de {bucket} n'efface ce qui est déposé"
        yield Finding(what, not expiring, f"Retirez ou restreignez la ou les règles : {expiring}.")
        if bucket == store.bucket:
            what = f"{bucket} efface pour de bon les dépôts d'essai détruits"
            yield Finding(what, _forgets_trials(rules), "manage.py storage setup")
    if store.direct:
        yield from _direct(store, site)
    yield from _encrypted(store)
    yield from _locked(store, retention_days)


def _rules(store: S3Store, bucket: str) -> list[dict[str, object]]:
    """What the store itself ends and expires, every rule, the suspended ones too.

    Raises StoreUnavailable: what cannot be read is not to be written over.
    """
    try:
        rules = store.call("get_bucket_lifecycle_configuration", bucket=bucket).get("Rules", [])
    except ObjectMissing:
        return []
    except StoreUnavailable as refused:
        if "NoSuchLifecycleConfiguration" in str(refused):
            return []
        raise
    return [dict(each) for each in rules] if isinstance(rules, list) else []


def _asked(store: S3Store, bucket: str) -> list[dict[str, object]]:
    """The rules that this platform needs."""
    return [_ABANDONED, _TRIALS] if bucket == store.bucket else [_ABANDONED]


def _merged(there: list[dict[str, object]], asked: list[dict[str, object]]) -> list[dict[str, object]]:
    """Ours, of whatever content they were, and the operator's own beside them: an ID is one rule."""
    ours = {each["ID"] for each in asked}
    return [*asked, *(each for each in there if each.get("ID") not in ours)]


def _days(said: object, name: str) -> int:
    return int(said.get(name) or 0) if isinstance(said, dict) else 0


def _aborts(rule: dict[str, object]) -> bool:
    return isinstance(rule.get("AbortIncompleteMultipartUpload"), dict)


def _expires(rule: dict[str, object], *, before: int) -> bool:
    """Whether it ends, trials aside, objects or versions that are not `before` days old; 0 for any age."""
    said, former = rule.get("Expiration"), rule.get("NoncurrentVersionExpiration")
    ages = [_days(said, "Days"), _days(former, "NoncurrentDays")]
    dated = isinstance(said, dict) and "Date" in said
    ends = dated or any(age and (not before or age < before) for age in ages)
    return ends and not _prefix(rule).startswith(TRIAL)


def _prefix(rule: dict[str, object]) -> str:
    """The keys that a rule is of, which every one of its forms may say; the empty string for all."""
    where = rule.get("Filter")
    where = where if isinstance(where, dict) else {}
    both = where.get("And")
    found = (both if isinstance(both, dict) else where).get("Prefix") or rule.get("Prefix") or ""
    return str(found)


def _forgets_trials(rules: list[dict[str, object]]) -> bool:
    """Whether what is deleted under the trials' prefix, and it alone, is soon no version either."""
    asked = ("Filter", "NoncurrentVersionExpiration", "Expiration")
    return any(all(each.get(name) == _TRIALS[name] for name in asked) for each in rules)


def _encrypted(store: S3Store) -> Iterator[Finding]:
    """Where encryption at rest is asked for: read back from objects written both ways."""
    if not store.sse:
        return
    advice = "Ce stockage ne chiffre pas comme sse=… le demande : corrigez la clé, ou retirez cette option."
    whole, streamed = f"opened/probe/{uuid.uuid4()}", f"opened/probe/{uuid.uuid4()}"
    try:
        store.put(whole, b"probe")
        store.put_stream(streamed, [b"probe"])
        good = bool(store.encrypted(whole) and store.encrypted(streamed))
    except StorageError:
        good = False
    yield Finding("les pièces sont chiffrées au repos (lu sur l'objet)", good, advice)
    for key in (whole, streamed):
        store.delete(key)


def _exists(store: S3Store, bucket: str) -> bool:
    try:
        store.call("head_bucket", bucket=bucket)
    except ObjectMissing:
        return False
    return True


def _retention(store: S3Store) -> int | None:
    """Days of the default retention, None without one."""
    try:
        said = store.call("get_object_lock_configuration", bucket=store.deposits)
    except (ObjectMissing, StoreUnavailable):
        return None
    rule = said.get("ObjectLockConfiguration")
    default = rule.get("Rule", {}).get("DefaultRetention", {}) if isinstance(rule, dict) else {}
    if default.get("Mode") != "COMPLIANCE":
        return None
    return int(default.get("Days") or 365 * int(default.get("Years") or 0)) or None


def _direct(store: S3Store, site: str) -> Iterator[Finding]:
    for bucket in dict.fromkeys([store.bucket, store.deposits]):
        origins = _origins(store, bucket)
        what = f"{bucket} accepte les pages de {site} et elles seules"
        yield Finding(what, origins == {site}, "manage.py storage setup")
    key = f"{_PROBE}/{uuid.uuid4()}"
    upload = store.begin(key)
    try:
        good, other = os.urandom(64), os.urandom(64)
        target = store.target(key, upload, 1, size=64, sha256=hashlib.sha256(good).hexdigest())
        refused = _put(target.url, dict(target.headers), other, ca=store.ca)
        known = ", de qui connaît l'autorité de ca=…" if store.ca else ""
        what = f"le stockage reçoit une partie envoyée directement ({store.direct}{known})"
        if not refused:  # and nothing is known of what it verifies
            yield Finding(what, good=False, advice=f"{store.direct} n'a pas répondu{_UNREACHED}")
            return
        yield Finding(
            "le stockage refuse des octets qui n'ont pas l'empreinte signée",
            400 <= refused < 500,
            "Ce stockage ne vérifie pas x-amz-content-sha256 : ajoutez direct=0 à DEMATMP_OBJECT_STORE.",
        )
        accepted = _put(target.url, dict(target.headers), good, ca=store.ca)
        advice = (
            f"Réponse {accepted}{_UNREACHED}" if accepted else f"{store.direct} n'a pas répondu{_UNREACHED}"
        )
        yield Finding(what, accepted == 200, advice)
    finally:
        store.abort(key, upload)


def _origins(store: S3Store, bucket: str) -> set[str]:
    """Whose pages may send to this bucket."""
    try:
        rules = store.call("get_bucket_cors", bucket=bucket).get("CORSRules", [])
    except (ObjectMissing, StoreUnavailable):
        return set()
    return (
        {origin for rule in rules for origin in rule["AllowedOrigins"]} if isinstance(rules, list) else set()
    )


def _put(url: str, headers: dict[str, str], body: bytes, *, ca: str) -> int:
    """The status of the answer; 0 without one. `ca` is trusted besides this machine's authorities."""
    trusted = ssl.create_default_context()
    if ca:
        trusted.load_verify_locations(ca)
    request = urllib.request.Request(url, data=body, headers=headers, method="PUT")  # noqa: S310  (our own store)
    try:
        with urllib.request.urlopen(request, timeout=20, context=trusted) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
    except OSError:
        return 0


def _locked(store: S3Store, retention_days: int) -> Iterator[Finding]:
    """The lock of an object sent in parts, as bids are: read back from the object itself."""
    advice = "Un compartiment à part, deposits=… dans DEMATMP_OBJECT_STORE, puis manage.py storage setup."
    if store.deposits == store.bucket or not retention_days:
        yield Finding("les plis sont verrouillés", good=False, advice=advice)
        return
    key = f"{_PROBE}/{uuid.uuid4()}"
    upload, data = store.begin(key), b"probe"
    sha256 = hashlib.sha256(data).hexdigest()
    store.put_part(key, upload, 1, io.BytesIO(data), size=len(data), part_bytes=len(data), sha256=sha256)
    store.complete(key, upload, [Part(1, len(data), sha256)])
    until = locked_until(store, key)
    days = (until - datetime.now(UTC)).total_seconds() / 86400 if until else 0.0
    good = days > retention_days - 1
    what = f"un pli est verrouillé {retention_days} jours (lu sur l'objet : {days:.1f})"
    # A lock that is too short only has to be made longer.
    yield Finding(what, good, "manage.py storage setup" if until else advice)
    yield Finding("un pli verrouillé ne s'efface pas", good=_outlives_deletion(store, key), advice=advice)


def locked_until(store: S3Store, key: str) -> datetime | None:
    """Until when nobody can delete this object, as its own head says; None when anybody can.

    Raises ObjectMissing, StoreUnavailable.
    """
    said = store.call("head_object", bucket=store.bucket_of(key), Key=key)
    until = said.get("ObjectLockRetainUntilDate")
    locked = said.get("ObjectLockMode") == "COMPLIANCE"
    return until if locked and isinstance(until, datetime) else None


def _outlives_deletion(store: S3Store, key: str) -> bool:
    """Whether this very version is still there once its deletion was asked. Raises StoreUnavailable."""
    version = store.call("head_object", bucket=store.deposits, Key=key).get("VersionId")
    if not version or version == "null":
        return False
    with contextlib.suppress(StorageError):  # what counts is what is there afterwards
        store.call("delete_object", bucket=store.deposits, Key=key, VersionId=version)
    try:
        store.call("head_object", bucket=store.deposits, Key=key, VersionId=version)
    except ObjectMissing:
        return False
    return True
