"""The programs around the library: the web page (`arc2face_app.ui`, `arc2face_app.server`) and the command line
(`arc2face_app.cli`).
"""

import arc2face.quiet  # noqa: F401 # pyright: ignore[reportUnusedImport] - first: libraries read it at import
