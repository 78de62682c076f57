"""Publish and subscribe: one instance's changes, signed, to another, by HTTP or in a file.

``event`` is the format, ``key`` signs it, ``publisher`` makes events of the change log, ``subscriber``
takes those of a peer, ``deliverer`` sends them to subscribers. docs/publish-subscribe.md specifies it.
"""
