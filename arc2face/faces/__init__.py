"""Faces in photos: detection, landmarks, identity embeddings, FFHQ alignment and pasting back."""
