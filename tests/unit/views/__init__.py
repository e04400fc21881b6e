"""Tests of zarrfs.views: no kernel, no network."""
