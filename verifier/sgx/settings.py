"""What an operator decides about SGX: which enclaves, of whom, how old, with which attributes.

The defaults take quote versions 3 to 5 and any enclave (which one it is, reference values say), and deny
debug, enclaves that were not initialised, and enclaves that may derive provisioning keys.
"""

from __future__ import annotations

from typing import Final

import msgspec

from common.errors import InvalidSetting
from verifier.intel.enclave import DEBUG
from verifier.intel.settings import PlatformSettings

VERSIONS: Final = frozenset({3, 4, 5})
_DIGEST_BYTES: Final = 32
_CONFIG_BYTES: Final = 64
_U64: Final = 1 << 64
_U16: Final = 1 << 16


class SignerRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Enclaves of a signer that are accepted.

    Attributes:
        mr_signer: 32 bytes.
        isv_prod_id: product id.
        minimum_isv_svn: lowest security version.
    """

    mr_signer: bytes
    isv_prod_id: int
    minimum_isv_svn: int


class SgxSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the SGX verifier. Bit masks are the constants of ``verifier.intel.enclave``.

    Attributes:
        platform: about the platform, its TCB and its collateral.
        versions: quote versions that are accepted.
        mr_enclaves: acceptable enclaves (32 bytes).
        signers: acceptable signers with product and lowest version. An enclave must meet ``mr_enclaves`` or
            ``signers``; where both are empty, any does.
        permit_provision_key: accept enclaves that may derive provisioning keys.
        require_kss: demand key separation and sharing (CONFIGID, CONFIGSVN, extended product id count).
        config_ids: acceptable CONFIGIDs (64 bytes); empty: any.
        minimum_config_svn: lowest CONFIGSVN.
        flags_required: ATTRIBUTES flags that must be set.
        flags_forbidden: ATTRIBUTES flags that must not be set. Debug is always denied.
    """

    platform: PlatformSettings = PlatformSettings()
    versions: frozenset[int] = VERSIONS
    mr_enclaves: frozenset[bytes] = frozenset()
    signers: tuple[SignerRule, ...] = ()
    permit_provision_key: bool = False
    require_kss: bool = False
    config_ids: frozenset[bytes] = frozenset()
    minimum_config_svn: int = 0
    flags_required: int = 0
    flags_forbidden: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that contradict themselves.

        Raises:
            InvalidSetting: naming the setting.
        """
        if not self.versions or not self.versions <= VERSIONS:
            raise InvalidSetting(f"sgx versions are of {sorted(VERSIONS)}")
        if any(len(value) != _DIGEST_BYTES for value in self.mr_enclaves):
            raise InvalidSetting(f"an entry of sgx mr_enclaves has not {_DIGEST_BYTES} bytes")
        if any(len(value) != _CONFIG_BYTES for value in self.config_ids):
            raise InvalidSetting(f"an entry of sgx config_ids has not {_CONFIG_BYTES} bytes")
        for rule in self.signers:
            numbers = (rule.isv_prod_id, rule.minimum_isv_svn)
            if len(rule.mr_signer) != _DIGEST_BYTES or any(not 0 <= n < _U16 for n in numbers):
                raise InvalidSetting("a rule of sgx signers is out of range")
        if any(not 0 <= mask < _U64 for mask in (self.flags_required, self.flags_forbidden)):
            raise InvalidSetting("an sgx mask is not a 64-bit number")
        if self.flags_required & (self.flags_forbidden | DEBUG):
            raise InvalidSetting("an sgx flag is both required and forbidden, or is debug")
        if (self.config_ids or self.minimum_config_svn) and not self.require_kss:
            raise InvalidSetting(
                "sgx config_ids and minimum_config_svn need require_kss: nothing else sets them"
            )
