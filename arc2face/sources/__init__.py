"""From what people have to what a request needs: who, which pose, which expression, whose look. Each told once.

The page, the endpoints, the command line and scripts all come through here. Every function takes the engine first and
raises subclasses of Arc2FaceError before anything is generated.
"""

from arc2face.sources.expression import ExpressionSource, Mixed, edit_expression, find_expression, find_preset
from arc2face.sources.look import LookSource, find_look, paste_all
from arc2face.sources.mixing import mix_expressions
from arc2face.sources.negative import find_negative
from arc2face.sources.person import Person, find_person
from arc2face.sources.pose import Posed, PoseSource, find_pose
from arc2face.sources.settings import check_settings
from arc2face.sources.several import Wish, group_requests, paste_group

__all__ = [
    "ExpressionSource",
    "LookSource",
    "Mixed",
    "Person",
    "PoseSource",
    "Posed",
    "Wish",
    "check_settings",
    "edit_expression",
    "find_expression",
    "find_look",
    "find_negative",
    "find_person",
    "find_pose",
    "find_preset",
    "group_requests",
    "mix_expressions",
    "paste_all",
    "paste_group",
]
