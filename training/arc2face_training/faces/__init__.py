"""Trainers of the networks that look at faces: recogniser, detector, landmarks."""
