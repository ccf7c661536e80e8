"""Every ACTES message is valid when written, reads back as it was, and the real ones are read."""

import dataclasses
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from dematmp.acts import latin1, names
from dematmp.acts import messages as m
from dematmp.acts.errors import ActRefused, MessageRefused
from dematmp.acts.reading import (
    read,
    read_envelope,
    read_envelope_anomaly,
    read_receipt,
    read_return_envelope,
)
from dematmp.acts.writing import write, write_envelope, write_envelope_anomaly, write_return_envelope
from tests.acts import samples

PROLOG = b'<?xml version="1.0" encoding="ISO-8859-1"?>\n'
fast = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SAMPLE = m.Act(
    number="A1",
    nature="1",
    decided=date(2026, 1, 10),
    codes=(1, 1, 1),
    subject="Réhabilitation de l'école n°2",
    classification_date=date(2019, 3, 1),
    document=m.File("99_DE-034-123456789-20260110-A1-DE-1-1_1.pdf"),
)
IDENTIFIER = "034-123456789-20260110-A1-DE"


@lru_cache(maxsize=1)
def _schema(path: Path) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(path)))


@pytest.fixture
def schema(shared: Path) -> etree.XMLSchema:
    return _schema(shared / "actes" / "actesv1_1.xsd")


def plain(value: Any) -> Any:
    """The value as ISO-8859-1 carries it, and as the reader strips it."""
    if isinstance(value, str):
        return latin1.to_latin1(value).strip(" \t\r\n")
    if isinstance(value, tuple):
        return tuple(plain(each) for each in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value


@fast
@given(message=samples.messages)
def test_a_message_reads_back_as_it_was_written(message: m.Message) -> None:
    data = write(message)
    assert data.startswith(PROLOG)
    data.decode("latin-1").encode("latin-1")
    # A label is an attribute: what surrounds it is not stripped by who writes it, but is by who reads it.
    assert plain(read(data)) == plain(message)


@fast
@given(message=samples.messages)
def test_a_message_is_valid_against_the_official_schema(schema: etree.XMLSchema, message: m.Message) -> None:
    schema.assertValid(etree.fromstring(write(message)))


@fast
@given(envelope=samples.envelopes)
def test_envelopes_and_their_anomalies_are_valid_and_read_back(
    schema: etree.XMLSchema, envelope: m.Envelope
) -> None:
    anomaly = m.EnvelopeAnomaly(date(2026, 1, 2), "005", "SIREN inconnu", envelope)
    schema.assertValid(etree.fromstring(write_envelope(envelope)))
    schema.assertValid(etree.fromstring(write_envelope_anomaly(anomaly)))
    assert plain(read_envelope(write_envelope(envelope))) == plain(envelope)
    assert plain(read_envelope_anomaly(write_envelope_anomaly(anomaly))) == plain(anomaly)


@fast
@given(envelope=samples.return_envelopes)
def test_return_envelopes_are_valid_and_read_back(
    schema: etree.XMLSchema, envelope: m.ReturnEnvelope
) -> None:
    schema.assertValid(etree.fromstring(write_return_envelope(envelope)))
    assert plain(read_return_envelope(write_return_envelope(envelope))) == plain(envelope)


@fast
@given(message=samples.messages, where=st.integers(0, 10_000), flipped=st.integers(1, 255))
def test_a_damaged_message_is_read_or_refused_and_never_breaks(
    message: m.Message, where: int, flipped: int
) -> None:
    data = bytearray(write(message))
    data[where % len(data)] ^= flipped
    try:
        read(bytes(data))
    except MessageRefused:
        return


@fast
@given(text=st.text())
def test_any_text_fits_in_iso_8859_1_and_in_xml(text: str) -> None:
    written = latin1.to_latin1(text)
    assert latin1.to_latin1(written) == written
    assert latin1.encode(text).decode("latin-1") == written
    etree.Element("a").text = written


@pytest.mark.parametrize(
    ("typed", "carried"),
    [
        ("L’école – « cœur » à 3 €…", "L'école - « coeur » à 3 EUR..."),
        ("Čapek Łódź", "Capek Lódz"),
        ("été", "été"),
        ("l\x92\x9cuvre", "l'oeuvre"),
        ("日", "?"),
        ("a\x00b\x0bc", "a b c"),
    ],
)
def test_what_is_outside_iso_8859_1_is_written_otherwise(typed: str, carried: str) -> None:
    assert latin1.to_latin1(typed) == carried


def test_the_date_of_reception_stands_where_clients_look_for_it() -> None:
    data = write(m.ActReceipt(IDENTIFIER, date(2026, 1, 12), SAMPLE, SAMPLE.classification_date)).decode(
        "latin-1"
    )
    assert 'actes:DateReception="' in data
    found = data.index("actes:DateReception")
    assert data[found + 21 : found + 31] == "2026-01-12"


def test_the_real_messages_of_the_ministry_are_read(shared: Path) -> None:
    folder = shared / "actes"
    receipt = read((folder / "006-210600235-20180522-684-AI-1-2_5279.xml").read_bytes())
    assert isinstance(receipt, m.ActReceipt)
    assert (receipt.received, receipt.act.subject) == (
        date(2018, 5, 28),
        "Contrat à durée déterminée - Jean Dupont",
    )
    anomaly = read((folder / "044-214400152----1-3_1.xml").read_bytes())
    assert isinstance(anomaly, m.ActAnomaly)
    assert (anomaly.nature, anomaly.act.codes) == ("002", (1, 1, 1, 1))
    assert anomaly.detail.startswith("ODT-VERIF-01 : Votre acte a été transmis")
    cancelled = read((folder / "044-214400152-20181106-TEST_DGCL_4-DE-6-2_10.xml").read_bytes())
    assert cancelled == m.CancellationReceipt("044-214400152-20181106-TEST_DGCL_4-DE", date(2018, 11, 28))
    refused = read_envelope_anomaly((folder / "ANO_EACT--214400152--20180925-1.xml").read_bytes())
    assert (refused.nature, refused.envelope.siren) == ("999", "214400152")
    back = read_return_envelope((folder / "EACT--SPREF0441-214400152-20181012-9.xml").read_bytes())
    assert (back.office, back.siren, [each.name for each in back.messages]) == (
        "IDSousPref",
        "214400152",
        ["044-214400152----1-3_1.xml"],
    )
    codes = read((folder / "exemple_codes_matieres.xml").read_bytes())
    assert isinstance(codes, m.Classification)
    assert (codes.on, len(codes.matters)) == (date(2017, 4, 19), 9)


def test_a_prolog_that_lies_about_utf_8_is_read_properly() -> None:
    data = write(SAMPLE).decode("latin-1").encode()
    assert data.startswith(PROLOG)
    assert read(data) == SAMPLE


@pytest.mark.parametrize("paper", [b"<actes:DocumentPapier>N</actes:DocumentPapier>", b""])
def test_an_act_without_document_papier_is_read(paper: bytes) -> None:
    data = write(SAMPLE)
    assert b"<actes:DocumentPapier>N</actes:DocumentPapier>" in data
    assert read(data.replace(b"<actes:DocumentPapier>N</actes:DocumentPapier>", paper)) == SAMPLE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<ARActe/>",
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><a>&b;</a>',
        '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'.encode("utf-16"),
        b"<a>" + b"x" * (5 * 1024 * 1024) + b"</a>",
        b"<a>" * 5000,
        b"<a>" * 200 + b"</a>" * 200,
        b"\xff\xfe\x00",
        write(SAMPLE).replace(b"99_DE-034", b"../../../etc"),
        write(SAMPLE).replace(b"2026-01-10", b"2026-13-40"),
    ],
)
def test_a_hostile_message_is_refused(data: bytes) -> None:
    with pytest.raises(MessageRefused):
        read(data)


def test_the_acknowledgement_of_another_act_is_refused() -> None:
    data = write(m.ActReceipt(IDENTIFIER, date(2026, 1, 11), SAMPLE, SAMPLE.classification_date))
    assert read_receipt(data, identifier=IDENTIFIER).received == date(2026, 1, 11)
    with pytest.raises(MessageRefused):
        read_receipt(data, identifier="034-123456789-20260110-A2-DE")


@pytest.mark.parametrize("address", ["x@ville.example", "x@ville.technology", "é@ville.fr", ""])
def test_a_return_address_that_the_schema_refuses_is_refused_with_a_sentence(address: str) -> None:
    who = m.Envelope("123456789", "034", "1", "31", m.Referent(), (address,), (m.File("a.xml"),))
    with pytest.raises(ActRefused, match="adresse de retour"):
        write_envelope(who)


def test_names_follow_the_grammar() -> None:
    name = names.envelope(application="EACT", siren="214502494", day=date(2017, 7, 17), serial=6)
    assert name == "EACT--214502494--20170717-6.xml"
    archive = names.archive(name, trigram="SLO")
    assert archive == "SLO-EACT--214502494--20170717-6.tar.gz"
    assert names.envelope_of_archive(archive) == name
    acts = "034-491011698-20171207-CL20171227_06-DE"
    assert names.message(acts, "1-1") == f"{acts}-1-1_0.xml"
    assert names.document(acts, "1-1", 2, typology="11_AP") == f"11_AP-{acts}-1-1_2.pdf"
    assert names.read_message("044-214400152----1-3_1.xml").identifier == ""
    assert names.read_message(f"{acts}-1-2_5279.xml").kind == "1-2"
    assert names.read_message(f"{acts}-1-2_17.xml").serial == 17
    assert names.classification_message(department="034", siren="491011698") == "034-491011698----7-1_0.xml"


@pytest.mark.parametrize("name", ["", "../a.xml", "034-1-1_0.xml", "034-491011698----9-1_0.xml", "x" * 300])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(MessageRefused):
        names.read_message(name)
