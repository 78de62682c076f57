"""AMD's kinds of items: revocation lists of the ARKs, and VCEKs.

Sources: AMD Versioned Chip Endorsement Key specification (pub. 57230) section 4 (addresses), VLEK
specification (pub. 58369).
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding

from common.encoding import b64url_decode, hex_decode
from common.errors import Malformed
from verifier.endorsements.kinds import Ask, CollateralKind, Facts, Parameter
from verifier.errors import CertificateInvalid, CrlInvalid, RootUntrusted
from verifier.snp.certificates import MAX_CERTIFICATE_BYTES, common_name, load_certificate
from verifier.snp.chain import KDS, Anchor, Anchors, certificates_of, verify_chain
from verifier.snp.products import HWID_BYTES, Product, SigningKey, Tcb, decode_tcb, product_of
from verifier.snp.report import parse_report
from verifier.snp.revocation import MAX_CRL_BYTES, verify_list
from verifier.snp.vek import check_vek

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from verifier.endorsements.kinds import Item, Sources
    from verifier.snp.report import Report
    from verifier.snp.vek import Vek
    from wire.evidence import SnpEvidence

VENDOR: Final = "amd"
_ISSUER_PREFIX: Final = "SEV-"
_TCB_TEXT: Final = re.compile(
    r"bl=(?P<bootloader>\d{1,3}),tee=(?P<tee>\d{1,3}),snp=(?P<snp>\d{1,3}),ucode=(?P<microcode>\d{1,3})"
    r"(?:,fmc=(?P<fmc>\d{1,3}))?"
)
_TCB_HEX_BYTES: Final = 8
_MAX_SVN: Final = 255
_SLOTS: Final = {0: SigningKey.VCEK, 1: SigningKey.VLEK}
_PARAMETERS: Final = (
    Parameter("product", "Product line.", "Milan|Genoa|Turin"),
    Parameter("signing-key", "Of which slot to fetch the list; both otherwise.", "VCEK|VLEK"),
    Parameter("hwid", "Hardware id of the chip (64 bytes, Turin 8).", "HEX"),
    Parameter(
        "tcb",
        "TCB of the VCEK: its numbers, or the 8 bytes of REPORTED_TCB in hex.",
        "bl=N,tee=N,snp=N,ucode=N[,fmc=N]",
    ),
)


def amd_roots() -> dict[Product, Anchor]:
    """AMD's pinned root of every product."""
    anchors = _anchors()
    return {product: anchors.amd(product) for product in Product}


def kinds(roots: Mapping[Product, Anchor] | None = None) -> tuple[CollateralKind, ...]:
    """The kinds, below AMD's pinned roots, or below others.

    A VCEK below another root than AMD's is held against its profile alone: its issuer is not at hand.
    """
    found = amd_roots() if roots is None else dict(roots)

    def verify_crl(item: Item, now: datetime) -> Facts:
        del now
        return _list_facts(item, found)

    def verify_vcek(item: Item, now: datetime) -> Facts:
        del now
        return _vcek_facts(item, found)

    return (
        CollateralKind(
            name="snp.crl",
            title="AMD revocation list",
            vendor=VENDOR,
            glob="crl/*.crl",
            verify=verify_crl,
            max_bytes=MAX_CRL_BYTES,
            parameters=_PARAMETERS,
            asks=_list_asks,
            again=_list_again,
            needs=_list_needs,
        ),
        CollateralKind(
            name="snp.vcek",
            title="AMD VCEK",
            vendor=VENDOR,
            glob="vcek/*/*.der",
            verify=verify_vcek,
            max_bytes=MAX_CERTIFICATE_BYTES,
            changes=False,
            parameters=_PARAMETERS,
            asks=_vcek_asks,
            needs=_vcek_needs,
        ),
    )


def list_file(product: Product, kind: SigningKey) -> str:
    """File name of one of AMD's revocation lists (``vcek-Milan.crl``)."""
    return f"{kind.lower()}-{product}.crl"


def list_name(product: Product, kind: SigningKey) -> str:
    """Name of that list in the store."""
    return f"crl/{list_file(product, kind)}"


def vcek_file(tcb: Tcb) -> str:
    """File name of a VCEK, as CoCo's offline store spells it (decimal, two digits at least)."""
    name = f"bl{tcb.bootloader:02}_tee{tcb.tee:02}_snp{tcb.snp:02}_ucode{tcb.microcode:02}"
    return f"{name}_vcek.der" if tcb.fmc is None else f"{name}_fmc{tcb.fmc:02}_vcek.der"


def vcek_url(product: Product, hardware_id: bytes, tcb: Tcb, base: str = KDS) -> str:
    """Address of a VCEK (AMD 57230 section 4.1): decimal SVNs, ``fmcSPL`` first where there is one."""
    fmc = "" if tcb.fmc is None else f"fmcSPL={tcb.fmc:02}&"
    parts = f"blSPL={tcb.bootloader:02}&teeSPL={tcb.tee:02}&snpSPL={tcb.snp:02}&ucodeSPL={tcb.microcode:02}"
    return f"{base}/vcek/v1/{product}/{hardware_id.hex()}?{fmc}{parts}"


def list_ask(product: Product, kind: SigningKey, sources: Sources) -> Ask:
    """Where a list is asked for (AMD 57230 section 4.3)."""
    bases = sources.of(VENDOR, KDS)
    return Ask(list_name(product, kind), tuple(f"{base}/{kind.lower()}/v1/{product}/crl" for base in bases))


def vcek_ask(product: Product, hardware_id: bytes, tcb: Tcb, sources: Sources) -> Ask:
    """Where a VCEK is asked for."""
    bases = sources.of(VENDOR, KDS)
    urls = tuple(vcek_url(product, hardware_id, tcb, base) for base in bases)
    return Ask(f"vcek/{hardware_id.hex()}/{vcek_file(tcb)}", urls)


@cache
def _anchors() -> Anchors:
    return Anchors()


def _slot_of(name: str) -> tuple[Product, SigningKey] | None:
    names = {list_name(product, kind): (product, kind) for product in Product for kind in SigningKey}
    return names.get(name)


def _list_facts(item: Item, roots: Mapping[Product, Anchor]) -> Facts:
    slot = _slot_of(item.name)
    if slot is None or slot[0] not in roots:
        raise RootUntrusted(f"{item.name} is the list of no pinned root")
    product, kind = slot
    found = verify_list(item.data, roots[product])
    if found.next_update < found.this_update:
        raise CrlInvalid(f"{item.name} ends before it begins")
    return Facts(
        subject=f"{product} {kind}",
        issued=found.this_update,
        not_after=found.next_update,
        revoked=len(found.revoked),
    )


def _vcek_facts(item: Item, roots: Mapping[Product, Anchor]) -> Facts:
    _, folder, file = item.name.split("/")
    product = _product_of(item.data)
    root = roots.get(product)
    if root is None:
        raise RootUntrusted(f"{item.name} is of no product with a pinned root")
    der = load_certificate(item.data, "the VCEK").public_bytes(Encoding.DER)
    leaf, not_before, not_after = _verified_vcek(der, product, root)
    fits = file in (vcek_file(leaf.tcb), "vcek.der")
    if leaf.hardware_id is None or leaf.hardware_id.hex() != folder or not fits:
        raise CertificateInvalid(f"{item.name} is the VCEK of another chip or TCB")
    return Facts(subject=f"{product} {folder[:16]}", issued=not_before, not_after=not_after)


def _verified_vcek(der: bytes, product: Product, root: Anchor) -> tuple[Vek, datetime, datetime]:
    if not root.amd:
        leaf = check_vek(der, SigningKey.VCEK, product)
        return leaf, leaf.not_before, leaf.not_after
    chain = verify_chain({"VCEK": der}, SigningKey.VCEK, product, _anchors())
    return chain.leaf, chain.not_before, chain.not_after


def _product_of(der: bytes) -> Product:
    """By the name of its issuer, which the chain then bears out."""
    name = common_name(load_certificate(der, "the VCEK").issuer)
    product = next((product for product in Product if name == f"{_ISSUER_PREFIX}{product}"), None)
    if product is None:
        raise CertificateInvalid("the VCEK's issuer is of no known product")
    return product


def _list_asks(given: Mapping[str, str], sources: Sources) -> tuple[Ask, ...]:
    if "product" not in given:
        return ()
    product = _product(given["product"])
    slots = [_slot(given["signing-key"])] if "signing-key" in given else list(SigningKey)
    return tuple(list_ask(product, slot, sources) for slot in slots)


def _list_again(name: str) -> Mapping[str, str] | None:
    slot = _slot_of(name)
    return None if slot is None else {"product": str(slot[0]), "signing-key": str(slot[1])}


def _vcek_asks(given: Mapping[str, str], sources: Sources) -> tuple[Ask, ...]:
    if not {"product", "hwid", "tcb"} <= given.keys():
        return ()
    product = _product(given["product"])
    hardware_id = hex_decode(given["hwid"], what="hwid", length=HWID_BYTES[product])
    return (vcek_ask(product, hardware_id, _tcb(given["tcb"], product), sources),)


def _product(text: str) -> Product:
    found = next((product for product in Product if product.lower() == text.lower()), None)
    if found is None:
        raise Malformed(f"the product is one of {', '.join(Product)}")
    return found


def _slot(text: str) -> SigningKey:
    found = next((slot for slot in SigningKey if slot == text.upper()), None)
    if found is None:
        raise Malformed(f"the signing key is one of {', '.join(SigningKey)}")
    return found


def _tcb(text: str, product: Product) -> Tcb:
    parts = _TCB_TEXT.fullmatch(text)
    if parts is None:
        return decode_tcb(hex_decode(text, what="tcb", length=_TCB_HEX_BYTES), product)
    numbers = {name: int(value) for name, value in parts.groupdict().items() if value is not None}
    if max(numbers.values()) > _MAX_SVN or ("fmc" in numbers) != (product is Product.TURIN):
        raise Malformed("each number of a TCB is at most 255; fmc is there on Turin, and only there")
    return Tcb(**numbers)


def _list_needs(evidence: SnpEvidence) -> tuple[Mapping[str, str], ...]:
    report = _report(evidence)
    slot = _SLOTS.get(report.signing_key)
    if slot is None:
        return ()
    return ({**_product_needed(report), "signing-key": str(slot)},)


def _vcek_needs(evidence: SnpEvidence) -> tuple[Mapping[str, str], ...]:
    report = _report(evidence)
    brought = certificates_of(evidence.certificates, evidence.auxblob)
    signed_by = _SLOTS.get(report.signing_key)
    if signed_by is not SigningKey.VCEK or not any(report.chip_id) or "VCEK" in brought:
        return ()
    known = _product_needed(report)
    size = HWID_BYTES[_product(known["product"])] if known else len(report.chip_id)
    return ({**known, "hwid": report.chip_id[:size].hex(), "tcb": report.reported_tcb.hex()},)


def _report(evidence: SnpEvidence) -> Report:
    return parse_report(b64url_decode(evidence.report, what="report"))


def _product_needed(report: Report) -> dict[str, str]:
    """Nothing for a report of version 2: it does not say, and ``product`` must be given."""
    if report.cpuid is None:
        return {}
    family, model, _ = report.cpuid
    return {"product": str(product_of(family, model))}
