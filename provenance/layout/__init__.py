"""In-toto layouts with links: ``parsing``, ``verification``, ``bundle`` (one document), ``reader``."""
