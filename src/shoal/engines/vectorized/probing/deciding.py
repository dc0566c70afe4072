"""Which runs of a stack do the same beside giving numbers, by the settings that their steps look at."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from shoal.step.attributes import own_settings
from shoal.step.left import WHOLE_OF_IT, Place

ENOUGH = 2
"""Steps of the same settings that are watched as they are taken: what they do beside giving numbers, others of these
settings do too. Two, since what a step changes outside is told from what it makes once by the second time."""
_WHOLE: Place = ("", WHOLE_OF_IT)


class Deciding:
    """The settings that differ among modules, and what is known of the steps that were watched.

    What no step has looked at, as a rate, decides nothing: a step that finds all it looks at as another one found it
    goes the same way, and so looks at nothing else.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._of = [own_settings(module) for module in modules]
        first = self._of[0]
        differing = {place for own in self._of[1:] for place, _ in own.items() ^ first.items()}
        own = frozenset(place for place in differing if not place[0])
        self.watch = own | {_WHOLE} if own else own
        """Those of the modules themselves, of which it shows whether a step looks at them."""
        self._looked = set(differing - own)
        self._watched: list[int] = []

    def are_known(self, place: int) -> bool:
        """Whether enough steps were watched of runs that the step of this module does the same as."""
        own = [(each, self._of[place].get(each)) for each in self._looked]
        alike = (all(self._of[other].get(each) == value for each, value in own) for other in self._watched)
        return sum(alike) >= ENOUGH

    def note(self, place: int, looked: set[Place]) -> None:
        """The step of this module was watched, and looked at these."""
        self._watched.append(place)
        self._looked |= self.watch if _WHOLE in looked else looked
