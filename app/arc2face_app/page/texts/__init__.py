"""One table of texts per language: JSON, English text to its translation (see `arc2face_app.page.language`)."""
