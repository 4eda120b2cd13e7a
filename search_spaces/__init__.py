"""What may be tried: dimensions, conditional spaces, and the spaces shipped with gansweep. Knows no Ray and no torch."""

from search_spaces.branch import Branch
from search_spaces.dimensions import Choice, Dimension, Float, Int, SuggestingTrial, Value
from search_spaces.problems import Problem, SpaceError
from search_spaces.space import Row, Space, preset_names

__all__ = [
    "Branch",
    "Choice",
    "Dimension",
    "Float",
    "Int",
    "Problem",
    "Row",
    "Space",
    "SpaceError",
    "SuggestingTrial",
    "Value",
    "preset_names",
]
