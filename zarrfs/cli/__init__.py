"""The `zarrfs` command."""
