"""Forms of the feature distance by name. A new one is a file and one line here."""

from __future__ import annotations

from trainables.losses.feature_forms.base import Distance, FeatureForm
from trainables.losses.feature_forms.covariance import covariance
from trainables.losses.feature_forms.distances import cosine, euclidean, l1
from trainables.losses.feature_forms.moments import moments
from trainables.losses.feature_forms.nearest import nearest
from trainables.losses.feature_forms.paired import paired
from trainables.registry import Registry

__all__ = ["EUCLIDEAN_FORMS", "FEATURE_DISTANCES", "FEATURE_FORMS", "Distance", "FeatureForm"]

FEATURE_DISTANCES: Registry[Distance] = Registry("feature distance", {"euclidean": euclidean, "l1": l1, "cosine": cosine})
FEATURE_FORMS: Registry[FeatureForm] = Registry(
    "form of the feature distance", {"moments": moments, "covariance": covariance, "nearest": nearest, "paired": paired}
)
EUCLIDEAN_FORMS = ("moments", "covariance")  # compare statistics, so that the distance of two vectors does not enter
