"""Pages by visitor."""

from django.urls import path, register_converter

from dematmp.web import (
    account,
    act_pieces,
    availability,
    backup_copies,
    bidder,
    buyer,
    buyer_acts,
    buyer_keys,
    colleagues,
    commissions,
    committee,
    committee_minutes,
    committee_renewal,
    contracts,
    late_bids,
    new_act,
    prefecture,
    public,
    registers,
    signatures,
    subscriptions,
)


class MinutesForm:
    regex = "pdf|json"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class ProtectorKind(MinutesForm):
    regex = "phrase|feuille|cle-d-acces"


class RegisterForm(MinutesForm):
    regex = "csv|json|pdf"


register_converter(MinutesForm, "minutes")
register_converter(ProtectorKind, "protector")
register_converter(RegisterForm, "register")
_BUYER = "acheteur/consultations/<uuid:consultation>/"
_BUYER_LETTER = "acheteur/actes/<uuid:act>/courriers/<int:letter>/"
_TEAM = "mon-espace/equipes/<uuid:organisation>/"
_COMMITTEE = "commission/<uuid:consultation>/"

urlpatterns = [
    path("", public.consultation_list, name="home"),
    path("consultations/<uuid:consultation>/", public.consultation, name="consultation"),
    path("consultations/<uuid:consultation>/dossier.zip", public.whole_file, name="whole-file"),
    path("consultations/<uuid:consultation>/pieces/<uuid:version>/", public.piece, name="piece"),
    path("consultations/<uuid:consultation>/suivre/", public.follow_changes, name="follow"),
    path(
        "consultations/<uuid:consultation>/ne-plus-suivre/<str:token>/",
        public.stop_following,
        name="unfollow",
    ),
    path("consultations/<uuid:consultation>/questions/", public.ask_question, name="ask"),
    path("aide/", public.help_page, name="help"),
    path("accessibilite/", public.accessibility, name="accessibility"),
    path("journal/", public.journal, name="journal"),
    path("journal/<path:path>", public.journal_file, name="journal-file"),
    path("tsa", public.timestamp, name="timestamp"),
    path("verifier-un-accuse/", public.check_receipt, name="check-receipt"),
    path("verifier-une-signature/", signatures.check_signature, name="check-signature"),
    path("mon-espace/", account.space, name="space"),
    path("mon-espace/entreprise/", account.new_company, name="new-company"),
    path("mon-espace/jetons/", account.tokens, name="tokens"),
    path("mon-espace/jetons/<int:token>/revoquer/", account.revoke, name="revoke-token"),
    path("mon-espace/invitations/<uuid:invitation>/", colleagues.join, name="join"),
    path(_TEAM, colleagues.colleagues, name="colleagues"),
    path(f"{_TEAM}roles/<int:membership>/", colleagues.dismiss, name="dismiss"),
    path(f"{_TEAM}invitations/<uuid:invitation>/", colleagues.cancel, name="cancel-invitation"),
    path("entreprise/", bidder.deposit_list, name="deposits"),
    path("entreprise/deposer/<uuid:consultation>/", bidder.new_deposit, name="new-deposit"),
    path("entreprise/depots/<uuid:deposit>/", bidder.deposit, name="deposit"),
    path("entreprise/depots/<uuid:deposit>/retirer/", bidder.withdraw_deposit, name="withdraw"),
    path(
        "entreprise/<uuid:company>/envois-refuses.<minutes:form>",
        bidder.refusals_evidence,
        name="refusals-evidence",
    ),
    path(
        "entreprise/secours/<uuid:attempt>/preuve.<minutes:form>",
        bidder.channel_evidence,
        name="channel-evidence",
    ),
    path("entreprise/depots/<uuid:deposit>/preuve.<minutes:form>", bidder.attempt_evidence, name="evidence"),
    path("entreprise/depots/<uuid:deposit>/accuse.pdf", bidder.receipt_as_pdf, name="receipt-pdf"),
    path("entreprise/depots/<uuid:deposit>/accuse.json", bidder.receipt_as_json, name="receipt-json"),
    path("acheteur/", buyer.consultation_list, name="buyer"),
    path("acheteur/commissions/", commissions.commission_list, name="commissions"),
    path("acheteur/commissions/<uuid:buyer>/", commissions.commission, name="new-commission"),
    path("acheteur/commissions/<uuid:buyer>/<uuid:commission>/", commissions.commission, name="commission"),
    path(
        "acheteur/commissions/<uuid:buyer>/<uuid:commission>/supprimer/",
        commissions.remove,
        name="remove-commission",
    ),
    path("acheteur/consultations/nouvelle/", buyer.new_consultation, name="buyer-new"),
    path(_BUYER, buyer.consultation, name="buyer-consultation"),
    path(f"{_BUYER}corriger/", buyer.correct, name="buyer-correct"),
    path(f"{_BUYER}date-limite/", buyer.deadline, name="buyer-deadline"),
    path(f"{_BUYER}attestation.pdf", availability.attestation, name="attestation"),
    path(f"{_BUYER}pieces/", buyer.add_piece, name="buyer-piece"),
    path(f"{_BUYER}pieces/<int:document>/", buyer.add_piece_version, name="buyer-piece-version"),
    path(f"{_BUYER}cles/", buyer_keys.ceremony, name="buyer-ceremony"),
    path(f"{_BUYER}detenteurs/", buyer_keys.renew, name="buyer-renew"),
    path(f"{_BUYER}detenteurs/abandonner/", buyer_keys.abandon, name="buyer-abandon"),
    path(f"{_BUYER}soumettre/", buyer.submit, name="buyer-submit"),
    path(f"{_BUYER}valider/", buyer.validate, name="buyer-validate"),
    path(f"{_BUYER}renvoyer/", buyer.send_back, name="buyer-send-back"),
    path(f"{_BUYER}publier/", buyer.publish, name="buyer-publish"),
    path(f"{_BUYER}questions/", buyer.questions, name="buyer-questions"),
    path(f"{_BUYER}questions/<uuid:question>/", buyer.answer, name="buyer-answer"),
    path(f"{_BUYER}registres/", buyer.registers, name="buyer-registers"),
    path(f"{_BUYER}journal/", registers.consultation_journal, name="buyer-journal"),
    path(f"{_BUYER}journal/export.<register:form>", registers.journal_export, name="buyer-journal-export"),
    path(f"{_BUYER}journal/preuves/<int:index>.json", registers.journal_proof, name="buyer-journal-proof"),
    path(f"{_BUYER}registres/retraits.csv", buyer.register_csv, name="buyer-register-csv"),
    path(f"{_BUYER}registres/hors-delai/<uuid:bid>/", late_bids.decide, name="late-bid"),
    path(
        f"{_BUYER}registres/hors-delai/<uuid:bid>/preuve.<minutes:form>",
        late_bids.late_evidence,
        name="late-evidence",
    ),
    path(f"{_BUYER}registres/copies/", backup_copies.record, name="record-copy"),
    path(f"{_BUYER}registres/copies/<uuid:copy>/ouvrir/", backup_copies.open_one, name="open-copy"),
    path(f"{_BUYER}registres/copies/<uuid:copy>/detruire/", backup_copies.destroy, name="destroy-copy"),
    path(f"{_BUYER}attribuer/", buyer_acts.award, name="buyer-award"),
    path(f"{_BUYER}attributions/<int:award>/transmettre/", buyer_acts.transmit, name="buyer-transmit"),
    path("acheteur/actes/", new_act.act_list, name="buyer-acts"),
    path("acheteur/actes/nouveau/<uuid:buyer>/<int:nature>/", new_act.new_act, name="buyer-act-new"),
    path(
        "acheteur/actes/nouveau/<uuid:buyer>/<int:nature>/typologie/",
        new_act.proposal,
        name="buyer-act-proposal",
    ),
    path("acheteur/actes/<uuid:act>/", buyer_acts.act, name="buyer-act"),
    path("acheteur/actes/<uuid:act>/annuler/", buyer_acts.cancel, name="buyer-act-cancel"),
    path("acheteur/actes/<uuid:act>/confirmer/", buyer_acts.confirm_act, name="buyer-act-confirm"),
    path("acheteur/actes/<uuid:act>/abandonner/", buyer_acts.give_up_act, name="buyer-act-give-up"),
    path("acheteur/actes/<uuid:act>/publication/", buyer_acts.publish_act, name="buyer-act-published"),
    path("acheteur/actes/<uuid:act>/procedure/", buyer_acts.share_procedure, name="buyer-act-procedure"),
    path("acheteur/actes/<uuid:act>/pieces/<int:rank>/", act_pieces.buyer_file, name="buyer-act-piece"),
    path(
        "acheteur/actes/<uuid:act>/pieces/<int:rank>/signatures/",
        act_pieces.buyer_signatures,
        name="buyer-act-signatures",
    ),
    path(
        "acheteur/actes/<uuid:act>/pieces/<int:rank>/tamponne.pdf",
        buyer_acts.stamped_file,
        name="buyer-act-stamped",
    ),
    path(f"{_BUYER_LETTER}repondre/", buyer_acts.answer, name="buyer-act-answer"),
    path(f"{_BUYER_LETTER}<str:name>", buyer_acts.letter_file, name="buyer-letter-file"),
    path("acheteur/actes/<uuid:act>/<str:name>", buyer_acts.act_file, name="buyer-act-file"),
    path("contrats/<int:award>/", contracts.contract, name="contract"),
    path("contrats/<int:award>/version-<int:number>.pdf", contracts.contract_file, name="contract-file"),
    path("suivi/", subscriptions.subscription, name="subscription"),
    path("suivi/<str:feed>/actes.atom", subscriptions.atom, name="acts-atom"),
    path("suivi/<str:feed>/echeances.ics", subscriptions.calendar, name="acts-calendar"),
    path("prefecture/", prefecture.act_list, name="prefecture"),
    path("prefecture/actes.csv", prefecture.acts_csv, name="prefecture-csv"),
    path("prefecture/chiffres/", prefecture.figures, name="prefecture-figures"),
    path("prefecture/chiffres.csv", prefecture.figures_csv, name="prefecture-figures-csv"),
    path("prefecture/<uuid:act>/pieces/<int:rank>/", act_pieces.prefecture_file, name="prefecture-act-piece"),
    path(
        "prefecture/<uuid:act>/pieces/<int:rank>/signatures/",
        act_pieces.prefecture_signatures,
        name="prefecture-act-signatures",
    ),
    path("prefecture/<uuid:act>/confier/", prefecture.assign, name="prefecture-assign"),
    path("prefecture/<uuid:act>/", prefecture.act, name="prefecture-act"),
    path("prefecture/<uuid:act>/ecrire/", prefecture.write_letter, name="prefecture-letter"),
    path(
        "prefecture/<uuid:act>/courriers/<int:letter>/<str:name>",
        prefecture.letter_file,
        name="prefecture-letter-file",
    ),
    path(
        "prefecture/<uuid:act>/courriers/<int:letter>/reponse/<int:rank>/",
        prefecture.answer_file,
        name="prefecture-answer-file",
    ),
    path("prefecture/<uuid:act>/<str:name>", prefecture.act_file, name="prefecture-act-file"),
    path("commission/", committee.session_list, name="committee"),
    path("commission/protecteurs/<protector:kind>/", committee.new_protector, name="new-protector"),
    path("commission/protecteurs/<uuid:protector>/perdu/", committee.lose, name="lose-protector"),
    path(_COMMITTEE, committee.session, name="session"),
    path(f"{_COMMITTEE}repartition/", committee_renewal.renewal, name="renewal"),
    path(f"{_COMMITTEE}proces-verbal.<minutes:form>", committee.minutes, name="minutes"),
    path(f"{_COMMITTEE}fichiers/<uuid:file>/", committee.opened_file, name="opened-file"),
    path(f"{_COMMITTEE}fichiers/<uuid:file>/signatures/", signatures.file_signatures, name="file-signatures"),
    path(f"{_COMMITTEE}fichiers/<uuid:file>/rapport.json", signatures.file_report, name="file-report"),
    path(f"{_COMMITTEE}fichiers/<uuid:file>/decision/", committee_minutes.decide_file, name="decide-file"),
    path(f"{_COMMITTEE}lots/<str:lot>/laisser-scelle/", committee_minutes.leave_sealed, name="leave-sealed"),
    path(f"{_COMMITTEE}lots/<str:lot>/ouvrir/", committee_minutes.take_back, name="take-back"),
    path(f"{_COMMITTEE}decisions/", committee_minutes.decide, name="decide"),
    path(f"{_COMMITTEE}suite/", committee_minutes.next_phase, name="next-phase"),
    path(f"{_COMMITTEE}reprendre/", committee_minutes.go_on, name="go-on"),
    path(
        f"{_COMMITTEE}anterieur-<int:number>.<minutes:form>", committee_minutes.former, name="former-minutes"
    ),
    path(f"{_COMMITTEE}observations/", committee_minutes.observe, name="observe"),
    path(f"{_COMMITTEE}clore/", committee_minutes.close, name="close-minutes"),
    path(f"{_COMMITTEE}signer/", committee_minutes.sign, name="sign-minutes"),
    path(f"{_COMMITTEE}clos.<minutes:form>", committee_minutes.closed, name="closed-minutes"),
    path(f"{_COMMITTEE}signatures/<int:signature>/", committee_minutes.signed_copy, name="signed-copy"),
]
