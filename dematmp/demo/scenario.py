"""The order of the play, and what each step shows."""

from datetime import UTC, datetime
from pathlib import Path

from dematmp.demo import act, evidence, play
from dematmp.demo.files import Canaries, make_bids, make_dce
from dematmp.demo.steps import Steps
from dematmp.opening.models import OpenedEnvelope, OpenedFile
from signing.pki import new_authority


def run(state: Path, address: str, steps: Steps, *, out: Path | None, serve: bool) -> list[dict[str, object]]:
    """Play everything; returns the steps with their durations. Raises when a step does not go as it must."""
    stage = play.Stage(state, address, steps)
    canaries = Canaries()
    with steps.step("Documents de la consultation et fichiers des quatre entreprises"):
        pieces = make_dce(state / "dce")
        now = datetime.now(UTC)
        authority = new_authority("Autorité d'essai de la démonstration", "Démonstration", now=now)
        (state / "signataires.pem").write_bytes(authority.certificate)
        bids = make_bids(state / "bids", authority=authority, canaries=canaries, now=now)
    with steps.step(
        "Trois acheteurs, quatre entreprises, une préfecture, douze personnes et les protecteurs de la commission"
    ):
        play.enrol(stage)
    with steps.step("L'agente prépare la consultation et ses six pièces, analysées par le service de tâches"):
        consultation = play.prepare(stage, pieces)
    with steps.step(
        "Cérémonie des clés : 2 parts sur 3, confirmées par chacun, et répétition de l'ouverture"
    ):
        play.ceremony(stage, consultation, by=stage.people["agent"])
    consultation.refresh_from_db()
    with steps.step("Validation par une seconde personne, publication, question et réponse"):
        deadline = play.publish(stage, consultation)
    steps.say(f"           date limite : {deadline.astimezone():%H:%M:%S}, en temps réel")
    consultation.refresh_from_db()
    play.deposit(stage, consultation, bids)
    with steps.step("La présidente tente d'ouvrir avant la date limite"):
        message = play.refusals_before(stage, consultation)
    steps.say(f"           {message}")
    with steps.step("Attente de la date limite ; la quatrième entreprise finalise une seconde après"):
        late = play.late(stage, consultation)
    steps.say(f"           accusé {late['number']}, état : {late['state']}")
    with steps.step("La commission apporte ses parts : un membre seul, puis le quorum"):
        message = play.quorum(stage, consultation)
    steps.say(f"           {message}")
    with steps.step("Ouverture : descellement, antivirus, signatures, procès-verbal"):
        session = play.unsealed(consultation)
    _summary(steps)
    with steps.step("Attribution du lot 1"):
        decision = play.decide(stage, consultation)
    with steps.step("L'acte part à la préfecture ; son acquittement revient"):
        transmission = act.transmit(decision, by=stage.people["valideur"])
    steps.say(f"           {transmission.act.identifier}, reçu le {transmission.received_on:%d/%m/%Y}")
    if serve:
        with steps.step("Deux autres consultations, à d'autres étapes"):
            play.elsewhere(stage, pieces)
    if out is not None:
        with steps.step("Preuves écrites et journal vérifié"):
            out.mkdir(parents=True, exist_ok=True)
            act.evidence(out, transmission)
            evidence.write(out, stage, consultation, session, bids, canaries)
    return steps.timings


def _summary(steps: Steps) -> None:
    real = OpenedEnvelope.objects.filter(session__consultation__twin_of=None)
    for row in real.select_related("envelope__attempt__bidder").order_by("pk"):
        words = f"{row.envelope.attempt.bidder}, {row.envelope.kind} : {row.get_state_display()} {row.reason}"
        steps.say(f"           {words.strip()}")
    infected = OpenedFile.objects.filter(verdict="infected").order_by("pk")
    for file in infected:
        steps.say(f"           virus : {file.name}, {file.verdict_detail} : jamais communiqué")
    for file in OpenedFile.objects.exclude(signature=None).order_by("pk"):
        indication = (file.signature or {}).get("indication")
        if indication:
            steps.say(f"           signature de {file.name} : {indication}")
