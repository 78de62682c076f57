"""Google Cloud Build provenance: the keys that sign it, the document that ``gcloud`` prints, its reader."""
