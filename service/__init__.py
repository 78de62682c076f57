"""Composition only: configuration, the Flask application, the command line, conformance runs."""
