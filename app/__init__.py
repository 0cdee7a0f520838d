"""The programs around the library: the web page (`app.ui`, `app.server`) and the command line (`app.cli`)."""

import arc2face.quiet  # noqa: F401 - first: other libraries read their switches at import
