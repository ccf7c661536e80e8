"""Signatures validated per second on one core, against the bare libraries and openssl on the same files."""

import asyncio
import io
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from asn1crypto import cms
from asn1crypto import crl as asn1_crl
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import async_validate_detached_cms, validate_pdf_signature
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from signxml.xades import XAdESSignatureConfiguration, XAdESVerifier

from signing.report import PASSED
from signing.trust import Trust, from_pems
from signing.validation import validate, validate_isolated
from tests.benchmarks.figures import Figure, workplace
from tests.signing.authority import NOW, World
from tests.signing.cms_cases import cades
from tests.signing.pdf_cases import asn1, signed
from tests.signing.xml_cases import xades

SECONDS = 3.0  # of each measure, at least
CONTENT = b"Acte d'engagement\n" * 4096


def _spent() -> float:
    """Processor seconds of this process and of its ended children: others on the machine do not count."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def per_second(work: Callable[[], object]) -> float:
    """Per second of one core."""
    work()
    count, started = 0, _spent()
    while (spent := _spent() - started) < SECONDS:
        work()
        count += 1
    return count / spent


def figures() -> Iterator[Figure]:
    """CAdES, PAdES-LTA and XAdES; then a whole `validate_isolated`, its process included."""
    logging.disable(logging.WARNING)
    with workplace(64 * 1024**2) as folder:
        world = World()
        trust = from_pems(world.trust)
        roots = [asn1(world.root.identity.certificate)]
        yield from _cades(folder, world, trust, roots)
        yield from _pades(folder, world, trust, roots)
        yield from _xades(folder, world, trust, roots)


def _ours(path: Path, trust: Trust, *detached: Path) -> Callable[[], object]:
    def work() -> None:
        report = validate(path, at=NOW, trust=trust, detached=detached)
        if report.indication != PASSED:
            raise SystemExit(f"deploy/bench : {path.name} : {report}")

    return work


def _cades(folder: Path, world: World, trust: Trust, roots: list[object]) -> Iterator[Figure]:
    signature, content = folder / "a.p7s", folder / "a.txt"
    data = cades(world.issuer.issue(kind="rsa"), CONTENT)
    signature.write_bytes(data)
    content.write_bytes(CONTENT)

    def bare() -> None:
        context = ValidationContext(trust_roots=roots, moment=NOW, allow_fetching=False)
        body = cms.ContentInfo.load(data)["content"]
        asyncio.run(async_validate_detached_cms(CONTENT, body, signer_validation_context=context))

    ours = per_second(_ours(signature, trust, content))
    yield Figure("validate.cades", ours, "per second", "pyHanko", per_second(bare))
    if shutil.which("openssl"):
        ca = folder / "ca.pem"
        ca.write_bytes(world.root.identity.pem)
        command = ["openssl", "cms", "-verify", "-cades", "-binary", "-inform", "DER", "-in", str(signature)]
        command += ["-content", str(content), "-CAfile", str(ca), "-purpose", "any", "-out", "/dev/null"]
        reference = per_second(lambda: subprocess.run(command, check=True, capture_output=True))
        yield Figure("validate.cades", ours, "per second", "openssl cms -verify", reference)
        isolated = per_second(lambda: validate_isolated(signature, at=NOW, trust=[ca], detached=[content]))
        yield Figure("validate.isolated", isolated, "per second", "openssl cms -verify", reference)


def _pades(folder: Path, world: World, trust: Trust, roots: list[object]) -> Iterator[Figure]:
    crls = [asn1_crl.CertificateList.load(each.crl()) for each in (world.issuer, world.root)]
    context = ValidationContext(trust_roots=roots, crls=crls, allow_fetching=False)
    signer = world.issuer.issue(kind="rsa")
    data = signed(signer, authority=world.issuer.authority(folder), context=context, lta=True)
    path = folder / "a.pdf"
    path.write_bytes(data)

    def bare() -> None:
        context = ValidationContext(trust_roots=roots, moment=NOW, allow_fetching=False)
        embedded = PdfFileReader(io.BytesIO(data)).embedded_regular_signatures[0]
        validate_pdf_signature(embedded, context, context)

    reference = per_second(bare)  # before pyHanko is mended (signing.pdf_reading), where nobody did it yet
    yield Figure("validate.pades_lta", per_second(_ours(path, trust)), "per second", "pyHanko", reference)


def _xades(folder: Path, world: World, trust: Trust, roots: list[object]) -> Iterator[Figure]:
    signer = world.issuer.issue(kind="rsa")
    data = xades(signer)
    path = folder / "a.xml"
    path.write_bytes(data)
    config = XAdESSignatureConfiguration(expect_references=True)
    ours = per_second(_ours(path, trust))
    bare = per_second(
        lambda: XAdESVerifier().verify(data, x509_cert=signer.certificate, expect_config=config)
    )
    yield Figure("validate.xades", ours, "per second", "signxml", bare)
    above = [asn1(each) for each in signer.above]

    def trusted() -> None:
        """signxml trusts whom it is told: whether the certificate is one to be trusted is as much work."""
        XAdESVerifier().verify(data, x509_cert=signer.certificate, expect_config=config)
        context = ValidationContext(trust_roots=roots, moment=NOW, allow_fetching=False)
        path = CertificateValidator(asn1(signer.certificate), above, validation_context=context)
        asyncio.run(path.async_validate_usage({"digital_signature"}))

    yield Figure("validate.xades", ours, "per second", "signxml, then pyHanko's path", per_second(trusted))
