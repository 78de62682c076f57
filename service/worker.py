"""What one worker process holds, whichever server runs it: parts, application, threads beside it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from service.app import create_app
from service.collateral_watch import CollateralWatch
from service.composition import build
from service.expiry import ExpiryWatch
from service.feed.deliverer import Deliverer
from service.sources.runner import SourceRunner

if TYPE_CHECKING:
    from flask import Flask

    from service.settings import Settings


class Worker:
    """Built in the process that serves; closed when that ends.

    Attributes:
        app: the WSGI application.
    """

    def __init__(self, settings: Settings) -> None:
        """Build everything, and start what runs beside requests."""
        self._services = build(settings)
        self._deliverer = Deliverer(self._services)
        self._sources = SourceRunner(self._services)
        self._expiry = ExpiryWatch(self._services)
        self._collateral = CollateralWatch(self._services)
        self.app: Flask = create_app(self._services)
        self._deliverer.start()
        self._sources.start()
        self._expiry.start()
        self._collateral.start()

    def settle(self) -> None:
        """Take everything that is there by now out of the garbage collector's sight: it stays for good.

        For the process of a server, which builds one worker and then serves: walking these objects again
        and again would be some hundredths of all that it does.
        """
        gc.collect()
        gc.freeze()

    def close(self) -> None:
        """Stop the threads, write what is queued, close the database."""
        self._collateral.close()
        self._expiry.close()
        self._sources.close()
        self._deliverer.close()
        self._services.close()
