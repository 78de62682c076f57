"""A real PKCS#11 token for tests and the demo: SoftHSM in a folder of its own.

SoftHSM reads its configuration from the file that ``SOFTHSM2_CONF`` names, once for a process: one process
uses one folder, and makes as many tokens there as it wants.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import pkcs11
from pkcs11 import KeyType

from common.errors import DependencyMissing
from testkit.daemon import find_binary

_MODULES: Final = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/usr/local/lib/softhsm/libsofthsm2.so"),
)
_CONFIGURATION: Final = """directories.tokendir = {folder}/tokens
objectstore.backend = file
log.level = ERROR
slots.removable = false
"""
PIN: Final = "12345678"
_SO_PIN: Final = "87654321"


def find_module() -> Path | None:
    """SoftHSM's library, where it and its tool are installed."""
    module = next((path for path in _MODULES if path.exists()), None)
    return module if find_binary("softhsm2-util") else None


class SoftHsm:
    """The tokens of one folder.

    Args:
        folder: for configuration and tokens.

    Raises:
        DependencyMissing: SoftHSM is not installed.
    """

    def __init__(self, folder: Path) -> None:
        """Write the configuration and point this process at it."""
        module = find_module()
        if module is None:
            raise DependencyMissing("SoftHSM is not installed", advice="Run scripts/system-packages.")
        self.module = module
        self.pin_file = folder / "pin"
        (folder / "tokens").mkdir(parents=True)
        configuration = folder / "softhsm2.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder), encoding="utf-8")
        self.pin_file.touch(0o600)
        self.pin_file.write_text(PIN + "\n", encoding="utf-8")
        os.environ["SOFTHSM2_CONF"] = str(configuration)

    def make_token(self, label: str) -> None:
        """Make a token, before the module is used by this process."""
        program = str(find_binary("softhsm2-util"))
        subprocess.run(
            [
                program, "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", _SO_PIN,
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip

    def make_rsa_pair(self, token: str, label: str) -> None:
        """Make an RSA pair of 2048 bits on a token."""
        found = pkcs11.lib(str(self.module)).get_token(token_label=token)
        with found.open(rw=True, user_pin=PIN) as session:
            session.generate_keypair(KeyType.RSA, 2048, label=label, store=True)
