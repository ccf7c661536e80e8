"""Validate the signatures of a file at a given time, without any network, in a subprocess with limits.

    report = validate_isolated(Path("offre.pdf.p7s"), detached=[Path("offre.pdf")], at=now, trust=[ca])

`python -m signing.validation FILE --at ISO --trust ca.pem` prints the report as JSON.
"""

import argparse
import base64
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from signing.contents import Content
from signing.der import beside_armour, undress
from signing.errors import SignatureRefused, TrustRefused
from signing.found import PARTIAL, WHOLE, Found, Unreadable
from signing.isolation import MEMORY_LIMIT, TIME_LIMIT, limit_this_process, validate_isolated
from signing.judging import after_others, judge
from signing.mime import opened
from signing.preserving import read_kept
from signing.qualification import trust_of
from signing.report import Evidence, Report, none_found, unreadable, worst
from signing.revocation import Wanted
from signing.sniffing import Kind, kind_of
from signing.trust import Trust, add_revocation, from_paths, from_pems, vouched

FILE_LIMIT = 256 * 1024**2  # bytes

__all__ = [
    "FILE_LIMIT",
    "MEMORY_LIMIT",
    "TIME_LIMIT",
    "none_found",
    "unreadable",
    "validate",
    "validate_isolated",
]


def validate(
    path: Path,
    *,
    at: datetime,
    trust: Sequence[bytes] | Trust,
    detached: Path | Sequence[Path] | None = None,
    name: str = "",
) -> Report:
    """The report on a file, whatever its format: its content says which, never its name.

    `trust` holds PEM certificates of authorities, or a Trust; `at` (aware) is a proof that the file existed;
    `detached` are the files among which the content of a detached signature is found by its digest.
    Raises TrustRefused for authorities that cannot be read; a hostile file gives a report.
    """
    others = [detached] if isinstance(detached, Path) else list(detached or ())
    contents = [Content(each.name, each) for each in others]
    known = trust if isinstance(trust, Trust) else from_pems(trust)
    return examine(path, at=at, trust=known, contents=contents, name=name or path.name)[0]


def examine(
    path: Path, *, at: datetime, trust: Trust, contents: Sequence[Content], name: str
) -> tuple[Report, list[Wanted]]:
    """The report, and the certificates whose revocation nothing at hand tells."""
    if path.stat().st_size > FILE_LIMIT:
        return unreadable("Fichier trop volumineux pour être analysé."), []
    try:
        found = _read(path, name, contents)
    except Unreadable as why:
        return unreadable(str(why)), []
    return (found, []) if isinstance(found, Report) else conclude(found, at=at, trust=trust)


def _read(path: Path, name: str, contents: Sequence[Content]) -> list[Found] | Report:
    """Each engine is loaded when its format is there: some take a second."""
    kind = kind_of(path)
    if kind is Kind.PDF:
        from signing.pades import read_pades

        return read_pades(path) or none_found("Ce PDF n'est pas signé.")
    if kind is Kind.CMS:
        worn = path.read_bytes()
        mail = opened(worn)
        worn = worn if mail is None else mail.body
        if mail is not None and mail.content is not None:
            contents = [mail.content]
        try:
            data = undress(worn)
        except ValueError:
            raise Unreadable("Ce fichier contient plusieurs blocs PEM, ou un bloc illisible.") from None
        if data is not None:
            from signing.cades import is_timestamp, read_cades

            if is_timestamp(data):
                return none_found(
                    "Ce fichier est un jeton d'horodatage : il ne porte la signature de personne."
                )
            read = read_cades(data, name, contents)
            for each in read if mail is not None and mail.says_more else ():
                each.warnings.append(
                    "L'objet, l'expéditeur et les autres en-têtes de ce courriel ne sont signés par personne."
                )
            for each in read if mail is not None and mail.is_framed else ():
                each.coverage = PARTIAL if each.coverage == WHOLE else each.coverage
            beside = beside_armour(worn)
            for each in read if beside.before or beside.after else ():
                each.warnings.append("Le texte autour du bloc PEM de ce fichier n'est signé par personne.")
                each.coverage = PARTIAL if beside.after and each.coverage == WHOLE else each.coverage
            return read or none_found("Ce CMS ne porte aucune signature.")
    if kind is Kind.XML:
        from signing.xades import read_xades

        return read_xades(path.read_bytes(), contents, name=name) or none_found(
            "Ce fichier XML n'est pas signé."
        )
    if kind is Kind.ZIP:
        from signing.asic import read_asic
        from signing.zipped import ContainerRefused

        try:
            container = read_asic(path)
        except ContainerRefused as refused:
            raise Unreadable(str(refused)) from refused
        if container is None:
            return none_found("Cette archive ne porte pas de signature : signez chaque document.")
        return container or none_found("Ce conteneur ne porte aucune signature.")
    if kind is Kind.POLYGLOT:
        raise Unreadable(
            "Ce PDF est précédé d'autres données : deux lecteurs n'y verraient pas la même chose."
        )
    return none_found("Ce fichier ne porte pas de signature reconnue.")


def conclude(found: Sequence[Found], *, at: datetime, trust: Trust) -> tuple[Report, list[Wanted]]:
    """The report on what engines found; the evidence of all of it, each piece once."""
    signatures, evidence = [], dict[str, Evidence]()
    wanted: list[Wanted] = []
    for each in found:
        signature, pieces, chains = judge(each, at=at, trust=trust)
        wanted += [Wanted(below.dump(), above.dump()) for chain in chains for below, above in chain.wanted]
        signatures.append(signature)
        evidence |= {piece.sha256: piece for piece in pieces}
    signatures = [
        after_others(signature, signatures[rank + 1 :]) if each.followed else signature
        for rank, (each, signature) in enumerate(zip(found, signatures, strict=True))
    ]
    report = Report(worst(signatures), tuple(signatures), "", at.isoformat(), tuple(evidence.values()))
    return report, list(dict.fromkeys(wanted))


def main(arguments: Sequence[str] | None = None) -> int:
    """The subprocess: limits first, then parse."""
    parser = argparse.ArgumentParser(prog="python -m signing.validation")
    parser.add_argument("file", type=Path)
    parser.add_argument("--at", type=datetime.fromisoformat, required=True)
    for name in ("--trust", "--stampers", "--detached", "--beside", "--revocation"):
        parser.add_argument(name, type=Path, action="append", default=[])
    parser.add_argument("--name", default="")
    parser.add_argument("--kept", type=Path)
    options = parser.parse_args(arguments)
    limit_this_process()
    wanted: list[Wanted] = []
    try:
        trust = from_paths(options.trust)
        trust.stampers += from_paths(options.stampers).anchors
        if options.kept:  # its revocation and lists; whom to trust is never the report's to say
            trust = vouched(trust_of(read_kept(options.kept).report), trust)
        add_revocation(trust, [each.read_bytes() for each in options.revocation])
        contents = [Content(each.name, each) for each in options.detached]
        contents += [Content(each.name, each, meant=False) for each in options.beside]
        report, wanted = examine(
            options.file, at=options.at, trust=trust, contents=contents, name=options.name
        )
    except (TrustRefused, SignatureRefused) as refused:
        report = unreadable(str(refused))
    pairs = [[base64.b64encode(der).decode() for der in (each.certificate, each.issuer)] for each in wanted]
    sys.stdout.write(json.dumps({"report": report.as_dict(), "wanted": pairs}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
