"""Zip archives: read in place, shown as a tree, and written safely.

`end_record` -> `directory` -> `hierarchy` turn an archive's central directory
into a `ZipIndex` (sorted columns, no object per entry); `index_cache` keeps
it; `content` reads entries; `tree` and `backend` are what the rest of zarrfs
sees. Specification: PKWARE APPNOTE.TXT 6.3.10.
"""
