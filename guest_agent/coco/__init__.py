"""Evidence in the forms of Confidential Containers: one ``CocoAttester`` per TEE, and what a guest has.

``detect`` and ``detect_devices`` find the attesters; each makes the JSON document that a KBS or attestation
service of Confidential Containers reads.
"""

from __future__ import annotations

from guest_agent.coco.detection import Probes, by_name, detect, detect_devices
from guest_agent.coco.protocol import CocoAttester, Registers

__all__ = ["CocoAttester", "Probes", "Registers", "by_name", "detect", "detect_devices"]
