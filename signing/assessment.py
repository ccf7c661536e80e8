"""pyHanko's reading of a trusted list for one path. Imported only when a list speaks: it is long to load."""

from dataclasses import dataclass
from datetime import datetime

from asn1crypto import x509
from pyhanko.sign.validation.qualified.assess import QualificationAssessor
from pyhanko.sign.validation.qualified.eutl_parse import trust_list_to_registry_unsafe
from pyhanko.sign.validation.qualified.q_status import QualifiedStatus
from pyhanko.sign.validation.qualified.tsp import QcCertType
from pyhanko_certvalidator.authority import AuthorityWithCert
from pyhanko_certvalidator.path import ValidationPath

_KINDS = {
    QcCertType.QC_ESIGN: "de signature électronique",
    QcCertType.QC_ESEAL: "de cachet électronique",
    QcCertType.QC_WEB: "d'authentification de site",
}


@dataclass(frozen=True)
class Assessment:
    """`granted`: whether the list recognised the authority at the time asked."""

    granted: bool
    category: str = "autorité non reconnue à cette date"
    qualified: bool = False
    qscd: bool = False


def was_granted(text: str, anchor: x509.Certificate, at: datetime) -> bool:
    """Whether the service of this certificate was granted then. `text` was verified when it was kept."""
    registry, _ = trust_list_to_registry_unsafe(text)
    return any(True for _ in registry.applicable_service_definitions(AuthorityWithCert(anchor), at))


def assess(text: str, path: ValidationPath, certificate: x509.Certificate, at: datetime) -> Assessment:
    """At the certificate's issuance and at `at`, as Regulation (EU) 910/2014 asks for both."""
    registry, _ = trust_list_to_registry_unsafe(text)
    if not any(True for _ in registry.applicable_service_definitions(path.trust_anchor.authority, at)):
        return Assessment(granted=False)
    assessor = QualificationAssessor(registry)
    moments = (certificate.not_valid_before, at)
    statuses = [assessor.check_entity_cert_qualified(path, moment=each).status for each in moments]
    qualified = all(each.qualified for each in statuses)
    qscd = qualified and all(each.qc_key_security.is_qscd for each in statuses)
    return Assessment(True, _category(statuses[-1], qualified=qualified, qscd=qscd), qualified, qscd)


def _category(status: QualifiedStatus, *, qualified: bool, qscd: bool) -> str:
    if not qualified:
        return "certificat non qualifié"
    if status.qc_type is QcCertType.QC_ESIGN:
        device = (
            ", clé dans un dispositif qualifié (QSCD) : signature électronique qualifiée"
            if qscd
            else ", sans dispositif qualifié : signature avancée fondée sur un certificat qualifié"
        )
    else:
        device = ", clé dans un dispositif qualifié (QSCD)" if qscd else ""
    return f"certificat qualifié {_KINDS[status.qc_type]}{device}"
