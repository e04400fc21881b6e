"""File semantics: nodes, handles, caches, permissions. Decided here and nowhere else."""
