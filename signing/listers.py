"""Other keys than an authority's own that sign revocation lists: a new key of it, or whom it names.

Who is named proves nothing by that alone: a key that was stolen, or that another authority certified under
the same name, neither clears nor accuses anybody.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from asn1crypto import crl, ocsp, x509

from signing.authentic import of_lists, of_responses
from signing.delegates import heard
from signing.freshness import when_issued
from signing.once import same_name
from signing.told import last_told

Path = Sequence[x509.Certificate]  # anchor first


def believed(
    listers: Sequence[Path],
    path: Path,
    lists: Sequence[crl.CertificateList],
    responses: Sequence[ocsp.OCSPResponse],
    *,
    at: datetime,
) -> tuple[list[x509.Certificate], list[crl.CertificateList]]:
    """Those of `listers`, each at the end of its own path, that may speak of `path`, and the lists to hear.

    The lists are those that an authority of `path` signed itself, and theirs. Nobody else's is any proof.
    """
    above, keys = path[:-1], [each[-1] for each in listers]
    if not listers:
        return [], of_lists(lists, above)
    every = [*above, *(one for each in listers for one in each)]
    known, answers = of_lists(lists, every), of_responses(responses, every)

    def is_good(lister: Path) -> bool:
        """Told so of it and of each authority above it, by who issued it; revoked by none of the keys."""
        return all(
            heard(last_told(*pair, known, answers, keys=keys), *pair, known, answers, at=at).good
            for pair in _pairs(lister)
        )

    def is_outdone(each: crl.CertificateList) -> bool:
        """Whether the authority itself says, no earlier, that what it issued here is good."""
        moment, said = when_issued(each), list[bool]()
        for pair in _pairs(path):
            if moment is not None and same_name(each.issuer, pair[0].issuer):
                own = last_told(*pair, known, answers)
                is_later = own is not None and own.at >= moment
                said.append(is_later and heard(own, *pair, known, answers, at=moment).good)
        return bool(said) and all(said)

    good = [each for each in listers if _is_of(each, path) and is_good(each)]
    below = [each[-1] for each in good if same_name(each[-1].subject, each[-2].subject)]  # of the authority
    beside = [each[-1] for each in good if not same_name(each[-1].subject, each[-2].subject)]
    more = [each for each in of_lists(known, below) if not is_outdone(each)]
    return [*beside, *below], [*of_lists(known, [*above, *beside]), *more]


def _pairs(path: Path) -> Iterator[tuple[x509.Certificate, x509.Certificate]]:
    """Each certificate below the anchor, and who issued it."""
    return zip(path[1:], path, strict=False)


def _is_of(lister: Path, path: Path) -> bool:
    """Whether it may speak for this path: who has an authority's name has its very issuer, or is its own."""
    ranks = [rank for rank, each in enumerate(path[:-1]) if same_name(each.subject, lister[-1].subject)]
    issuers = {each.dump() for rank in ranks for each in path[max(rank - 1, 0) : rank + 1]}
    return not ranks or lister[-2].dump() in issuers
