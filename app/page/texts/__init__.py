"""One table of texts per language: JSON, English text to its translation (see `app.page.language`)."""
