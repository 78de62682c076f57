"""The endorsement store: what vendors say of their hardware, in one folder, verified before it is kept.

``kinds`` says what an item is, ``store`` keeps items, ``fetching`` asks sources for them, ``bundle``
carries them over an air gap. One module per vendor whose items several TEEs share: ``amd``, ``intel``. A
TEE names the kinds that it needs in its record (``Tee.collateral``), and may define them in its own folder.
"""
