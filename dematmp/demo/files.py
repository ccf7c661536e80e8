"""The files of the demonstration.

A consultation file of six real documents, and the bids of four companies.
"""

import os
import secrets
import zipfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from openpyxl import Workbook

from dematmp.audit.documents import render_file
from signing.pdf import sign_pdf
from signing.pki import Credential, issue

_TYPST = Path(__file__).resolve().parent / "typst"
LARGE_BYTES = 200_000_000
_MARKET = "Réhabilitation de la médiathèque de Sorne"


@dataclass(frozen=True)
class Piece:
    """A document of the consultation file."""

    path: Path
    kind: str
    title: str


@dataclass
class BidFiles:
    """What one company deposits; `replaced` is an earlier version of its offer."""

    candidature: list[Path] = field(default_factory=list)
    offre: list[Path] = field(default_factory=list)
    replaced: list[Path] = field(default_factory=list)


_CLAUSES = {
    "Objet et allotissement": "Le marché porte sur la réhabilitation de la médiathèque communautaire. Il est divisé en deux lots : "
    "le lot 1, gros œuvre et désamiantage ; le lot 2, menuiseries extérieures et isolation. Chaque lot donne lieu à un marché séparé.",
    "Délais": "La durée globale des travaux est de quatorze mois, période de préparation de deux mois comprise. Les délais "
    "partiels figurent au calendrier prévisionnel. Tout retard constaté ouvre droit aux pénalités fixées ci-après.",
    "Prix": "Les prix sont unitaires et forfaitaires, fermes pour les trois premiers mois puis actualisables selon l'index BT01. "
    "Le bordereau des prix est rempli sans modification de sa structure.",
    "Exécution": "Le titulaire désigne un conducteur de travaux présent aux réunions hebdomadaires. Il tient à jour le plan "
    "d'assurance qualité et le plan particulier de sécurité et de protection de la santé.",
    "Insertion et environnement": "Cinq pour cent des heures travaillées sont réservées à des personnes éloignées de l'emploi. "
    "Les déchets de chantier sont triés en six flux et leur traçabilité est remise chaque mois au maître d'ouvrage.",
    "Réception": "La réception est prononcée après les opérations préalables, en présence du maître d'œuvre. La garantie de "
    "parfait achèvement court pendant un an à compter de la date d'effet de la réception.",
}


def _document(
    path: Path,
    *,
    title: str,
    subtitle: str,
    author: str,
    extra: str = "",
    rows: list[list[str]] | None = None,
) -> Path:
    sections: list[dict[str, object]] = []
    for number, (heading, clause) in enumerate(_CLAUSES.items(), start=1):
        detail = [
            f"{clause}",
            f"Article {number}.1. Les dispositions du présent article complètent celles du cahier des clauses administratives "
            "générales applicables aux marchés publics de travaux, auquel il est fait référence.",
            f"Article {number}.2. {clause} Le titulaire signale par écrit toute difficulté dans un délai de huit jours.",
            f"Article {number}.3. Les pièces visées sont remises sous forme électronique, dans un format courant.",
        ]
        sections.append({"heading": heading, "paragraphs": detail * 2})
    if rows:
        sections.append(
            {
                "heading": "Tableau récapitulatif",
                "paragraphs": ["Les valeurs sont indicatives."],
                "rows": rows,
            }
        )
    if extra:
        sections.append({"heading": "Repère", "paragraphs": [extra]})
    data = {"title": title, "subtitle": subtitle, "author": author, "sections": sections}
    path.write_bytes(render_file(_TYPST / "piece.typ", data, title=title))
    return path


def _prices(path: Path) -> Path:
    book = Workbook()
    sheet = book.active
    if sheet is None:
        raise TypeError("a new workbook has a sheet")
    sheet.title = "Lot 1"
    sheet.append(["Poste", "Désignation", "Unité", "Quantité", "Prix unitaire HT", "Total HT"])
    posts = [
        "Installation de chantier",
        "Désamiantage",
        "Démolition",
        "Fondations",
        "Voiles béton",
        "Dallage",
        "Étanchéité",
    ]
    for row, post in enumerate(posts, start=2):
        sheet.append([f"1.{row - 1}", post, "m²", 120 + 35 * row, None, f"=D{row}*E{row}"])
    sheet.append(["", "Total HT", "", "", "", f"=SUM(F2:F{len(posts) + 1})"])
    book.save(path)
    return path


def _plans(path: Path) -> Path:
    rooms = [
        {"x": 1, "y": 1, "w": 14, "h": 9, "label": "Salle de lecture"},
        {"x": 15, "y": 1, "w": 10, "h": 9, "label": "Espace jeunesse"},
        {"x": 1, "y": 10, "w": 8, "h": 7, "label": "Accueil"},
        {"x": 9, "y": 10, "w": 16, "h": 7, "label": "Auditorium"},
    ]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for level in ("Rez-de-chaussée", "Étage", "Combles"):
            data = {"title": f"{_MARKET}, {level}", "scale": "1/100", "rooms": rooms}
            name = level.replace("é", "e").replace("É", "E").replace(" ", "-")
            archive.writestr(f"{name}.pdf", render_file(_TYPST / "plan.typ", data, title=level))
    return path


def make_dce(folder: Path) -> list[Piece]:
    """Six documents: four PDFs of several pages, one spreadsheet, one ZIP of plans."""
    folder.mkdir(parents=True, exist_ok=True)
    buyer = "Communauté d'agglomération du Val de Sorne"
    rows = [
        ["Critère", "Pondération"],
        ["Prix", "50 %"],
        ["Valeur technique", "40 %"],
        ["Environnement", "10 %"],
    ]
    texts = (
        ("RC.pdf", "rc", "Règlement de la consultation"),
        ("CCAP.pdf", "ccap", "Cahier des clauses administratives particulières"),
        ("CCTP-lot-1.pdf", "cctp", "Cahier des clauses techniques, lot 1"),
        ("CCTP-lot-2.pdf", "cctp", "Cahier des clauses techniques, lot 2"),
    )
    pieces = [
        Piece(_document(folder / name, title=title, subtitle=_MARKET, author=buyer, rows=rows), kind, title)
        for name, kind, title in texts
    ]
    pieces.append(Piece(_prices(folder / "BPU.xlsx"), "prices", "Bordereau des prix unitaires"))
    pieces.append(Piece(_plans(folder / "Plans.zip"), "plans", "Plans du bâtiment"))
    return pieces


class Canaries:
    """Random strings planted in the plaintexts; none may be found anywhere before the opening."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def new(self) -> str:
        text = "CANARI" + secrets.token_hex(12)
        self.found.append(text)
        return text


def _text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def _large(path: Path, canary: str) -> Path:
    """200 MB that do not compress, with a canary in the middle."""
    block = os.urandom(1_000_000)
    with path.open("wb") as file:
        for number in range(LARGE_BYTES // 1_000_000):
            head = f"bloc {number:04d} {canary if number == 100 else ''}".encode().ljust(64)
            file.write(head + block[len(head) :])
    return path


def eicar() -> bytes:
    """The EICAR test file (public standard), built from two pieces so that no source file is itself detected."""
    return (r"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-" + "TEST-FILE!$H+H*").encode()


def make_bids(
    folder: Path, *, authority: Credential, canaries: Canaries, now: datetime
) -> dict[str, BidFiles]:
    """The files of the four companies, in `folder`/<company>/."""
    bids = {slug: BidFiles() for slug in ("batisseurs", "voirie", "pierre", "retard")}
    for slug, files in bids.items():
        home = folder / slug
        home.mkdir(parents=True, exist_ok=True)
        company = slug.capitalize()
        files.candidature = [
            _text(home / "DC1-lettre-de-candidature.txt", f"Candidature de {company}. {canaries.new()}\n"),
            _document(
                home / "DC2-capacites.pdf",
                title="Capacités",
                subtitle=_MARKET,
                author=company,
                extra=canaries.new(),
            ),
        ]
    _normal(folder / "batisseurs", bids["batisseurs"], authority, canaries, now)
    home = folder / "voirie"
    earlier = home / "depot-remplace"
    earlier.mkdir(exist_ok=True)
    prices = _text(home / "prix.csv", f"poste;prix\n1.1;{secrets.randbelow(90000)}\n{canaries.new()};0\n")
    bids["voirie"].offre = [_large(home / "maquette-numerique.bin", canaries.new()), prices]
    bids["voirie"].replaced = [
        _large(earlier / "maquette-numerique.bin", canaries.new()),
        _text(earlier / "prix.csv", f"poste;prix\n1.1;1\n{canaries.new()};0\n"),
    ]
    home = folder / "pierre"
    virus = home / "memoire-technique.com"
    virus.write_bytes(eicar())
    bids["pierre"].offre = [virus, _text(home / "prix.csv", f"poste;prix\n{canaries.new()};1\n")]
    home = folder / "retard"
    bids["retard"].offre = [_text(home / "prix.csv", f"poste;prix\n{canaries.new()};2\n")]
    return bids


def _normal(home: Path, files: BidFiles, authority: Credential, canaries: Canaries, now: datetime) -> None:
    """Twelve files in all: two of candidature, ten of offer, of which a commitment letter signed PAdES."""
    company = "Les Bâtisseurs du Val"
    letter = _document(
        home / "acte-d-engagement.pdf", title="Acte d'engagement", subtitle="Lot 1", author=company
    )
    signer = issue(authority, "Julie Moreau", company, now=now)
    letter.write_bytes(sign_pdf(letter.read_bytes(), signer, reason="Je m'engage", name="Julie Moreau"))
    files.offre = [
        letter,
        _prices(home / "BPU-rempli.xlsx"),
        _text(home / f"planning-{canaries.new()}.csv", f"tâche;jours\nfondations;40\n{canaries.new()};1\n"),
    ]
    for number in range(1, 8):
        name = f"memoire-technique-{number}.pdf"
        title = f"Mémoire technique, partie {number}"
        files.offre.append(
            _document(home / name, title=title, subtitle=_MARKET, author=company, extra=canaries.new())
        )
