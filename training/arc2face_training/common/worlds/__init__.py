"""The worlds that training can draw its people from, each behind the same names; `arc2face_training.common.world`
chooses.
"""
