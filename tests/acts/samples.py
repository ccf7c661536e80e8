"""Messages of every kind for the property tests: any text, any date, any list of files."""

import string
from datetime import date

from hypothesis import strategies as st

from dematmp.acts import messages as m

_UPPER = string.ascii_uppercase + string.digits
days = st.dates(date(2000, 1, 1), date(2100, 1, 1))
# What XML 1.0 may bear; the reader strips what surrounds it.
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Co", "Cn")), min_size=1, max_size=60
)
numbers = st.from_regex(r"\A(?:[A-Z0-9][A-Z0-9_]{0,13})?[A-Z0-9]\Z")
natures = st.sampled_from("123456")
shorts = st.sampled_from(["DE", "AR", "AI", "CC", "BF", "AU"])
sirens = st.text(string.digits, min_size=9, max_size=9)
departments = st.sampled_from(["034", "02A", "974", "001"])
identifiers = st.builds(
    lambda d, s, on, n, x: f"{d}-{s}-{on:%Y%m%d}-{n}-{x}", departments, sirens, days, numbers, shorts
)
files = st.builds(
    m.File, st.text(_UPPER + "_-", min_size=1, max_size=40).map(lambda name: f"{name}.pdf")
)  # fmt: skip
many = st.lists(files, max_size=4).map(tuple)
codes = st.lists(st.integers(1, 99), min_size=2, max_size=5).map(tuple)
acts = st.builds(
    m.Act, number=numbers, nature=natures, decided=days, codes=codes, subject=texts, classification_date=days,
    document=files, annexes=many, paper=st.booleans(), previous=st.just("") | identifiers,
)  # fmt: skip


def _letters(kind: str) -> st.SearchStrategy[m.Letter]:
    count = {"min_size": 1, "max_size": 4} if kind == "3-4" else {"min_size": 1, "max_size": 1}
    documents = st.just(()) if kind in m.WITHOUT_DOCUMENT else st.lists(files, **count).map(tuple)
    said = texts if kind in m.LETTER_TEXT else st.just("")
    return st.builds(
        m.Letter, kind=st.just(kind), identifier=identifiers, written=days, documents=documents, text=said
    )


letters = st.one_of([_letters(kind) for kind in sorted(m.LETTERS)])
typologies = st.lists(
    st.builds(m.Typology, st.text(_UPPER + "_", min_size=5, max_size=5), texts), min_size=1, max_size=3
).map(tuple)
kinds = st.builds(m.Nature, natures, shorts, texts, typologies)
leaves = st.builds(m.Matter, st.integers(1, 20), texts)
second = st.builds(m.Matter, st.integers(1, 20), texts, st.lists(leaves, max_size=2).map(tuple))
matters = st.builds(m.Matter, st.integers(1, 9), texts, st.lists(second, min_size=1, max_size=2).map(tuple))
messages: st.SearchStrategy[m.Message] = st.one_of(
    acts,
    st.builds(m.ActReceipt, identifiers, days, acts, days),
    st.builds(m.ActAnomaly, days, st.integers(0, 999).map("{:03}".format), st.just("") | texts, acts, days),
    letters,
    st.builds(m.LetterReceipt, st.sampled_from(sorted(m.LETTER_RECEIPTS)), identifiers, days, days),
    st.builds(m.Referral, identifiers, days, texts, many),
    st.builds(m.Cancellation, identifiers),
    st.builds(m.CancellationReceipt, identifiers, days),
    st.builds(m.ClassificationRequest, st.none() | days),
    st.builds(m.ClassificationUnchanged, days),
    st.builds(
        m.Classification, days, st.lists(kinds, min_size=1, max_size=3).map(tuple),
        st.lists(matters, min_size=1, max_size=3).map(tuple),
    ),
)  # fmt: skip
emails = st.sampled_from(["tdt@tdt.example.fr", "marches@ville.example.fr", "a_b-c.d@x.org"])
referents = st.builds(m.Referent, texts, st.text(string.digits, max_size=10), emails)
envelopes = st.builds(
    m.Envelope, siren=sirens, department=departments, district=st.sampled_from("0123"),
    nature=st.sampled_from(["31", "44"]), referent=referents,
    return_addresses=st.lists(emails, min_size=1, max_size=3).map(tuple),
    messages=st.lists(files, min_size=1, max_size=3).map(tuple),
)  # fmt: skip
return_envelopes = st.one_of([
    st.builds(
        m.ReturnEnvelope, st.just(office), departments,
        st.sampled_from("123") if office == "IDSousPref" else st.just(""), referents,
        st.lists(files, min_size=1, max_size=3).map(tuple), sirens,
    )
    for office in ("IDPref", "IDSousPref", "IDSGAR")
])  # fmt: skip
