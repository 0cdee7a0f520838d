"""The programs around the library: the web page (`app.ui`, `app.server`) and the command line (`app.cli`)."""
