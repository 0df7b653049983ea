"""Attacks that move an image or cover a part of it, without a norm that bounds the change."""

from attacks.spatial.move import move
from attacks.spatial.patch import Patched, patch
from attacks.spatial.rotate_translate import Moved, rotate_translate
from attacks.spatial.universal import Universal, universal_patch

__all__ = ["Moved", "Patched", "Universal", "move", "patch", "rotate_translate", "universal_patch"]
