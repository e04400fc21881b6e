"""Mounts as operators run them: config, supervisor, workers, status."""
