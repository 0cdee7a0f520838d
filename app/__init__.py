"""The programs around the library: the web page (`app.ui`, `app.server`) and the command line (`app.cli`)."""

import arc2face.quiet  # noqa: F401 # pyright: ignore[reportUnusedImport] - first: libraries read it at import
