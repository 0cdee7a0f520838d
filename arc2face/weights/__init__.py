"""Model files: the table of all of them, the folder they lie in, safe reading and caching, downloading.

Nothing here imports torch on import, so that downloading and diagnosing work without it.
"""
