"""Which formats are read, in the order in which they are asked. A new format is one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.dsse_reader import DsseReader
from provenance.gcb.reader import GoogleCloudBuildReader
from provenance.layout.reader import LayoutReader
from provenance.manifests.corim.reader import CorimReader
from provenance.manifests.measurement_file.reader import MeasurementFileReader
from provenance.manifests.swid.reader import SwidReader
from provenance.oci.reader import CosignSignatureReader
from provenance.sigstore.reader import SigstoreReader

if TYPE_CHECKING:
    from provenance.layout.inspection import InspectionRunner
    from provenance.reader import Reader
    from provenance.trust import TrustPolicy


def readers_of(trust: TrustPolicy, inspections: InspectionRunner | None = None) -> tuple[Reader, ...]:
    """The readers of a trust policy. Their shapes exclude each other; ``DsseReader`` takes what is left.

    Args:
        trust: the policy.
        inspections: runs the commands of a layout's inspections; none are run without.
    """
    return (
        SigstoreReader(trust),
        CosignSignatureReader(trust),
        LayoutReader(trust, inspections),
        GoogleCloudBuildReader(trust),
        CorimReader(trust),
        SwidReader(trust),
        MeasurementFileReader(trust),
        DsseReader(trust),
    )
