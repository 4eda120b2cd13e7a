"""Low-pass filters of orthogonal wavelets (Daubechies 1992, chapter 8): the symlets of 2 and of 6 vanishing moments.

As published: Σ h = √2, Σ h_k h_{k+2m} = 1 for m = 0 and else 0, and as many alternating moments vanish as the name says.
"""

from __future__ import annotations

import math

SYM2 = tuple(x / (4 * math.sqrt(2)) for x in (1 - math.sqrt(3), 3 - math.sqrt(3), 3 + math.sqrt(3), 1 + math.sqrt(3)))
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
