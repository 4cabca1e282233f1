"""Simulated recordings with a known truth: rendered objects, a hidden teacher network, spiking sites.

What is planted
---------------
Each site's drive is a linear readout of the hidden teacher's ``block4`` (the fourth of five blocks,
`PLANTED_BLOCK`), preferences for categories and objects, and pose, position and size, with shares of
about .55, .30 and .15 of the variance. So a model ranks high here when its features resemble that
random teacher's middle-to-late block or tell objects and poses apart: ranks on these data follow from
how they were made and say nothing about the brain.

The images are of the kind of the HvM set (Majaj, Hong, Solomon & DiCarlo 2015): 64 objects in 8
categories at variation levels 0 (10% of the images), 3 (60%) and 6 (30%), before unrelated
backgrounds.
"""

from itprobe.data.simulated.recording import SIMULATED, load_simulated, make_simulated
from itprobe.data.simulated.teacher import PLANTED_BLOCK, Teacher, teacher, teacher_features

__all__ = [
    "PLANTED_BLOCK",
    "SIMULATED",
    "Teacher",
    "load_simulated",
    "make_simulated",
    "teacher",
    "teacher_features",
]
