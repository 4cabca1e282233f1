"""Recordings: which stimuli were shown, what the neuroids answered."""

from itprobe.data.assembly import (
    average_repetitions,
    build_assembly,
    neuroid_coordinates,
    presentation_coordinates,
    recording_sha256,
    repetitions_per_stimulus,
    select_region,
)
from itprobe.data.describe import (
    check_contact_sheet_path,
    contact_sheet,
    describe_recording,
    recording_figures,
)
from itprobe.data.package import package_recording
from itprobe.data.registry import RECORDINGS, fetch_recording, load_recording
from itprobe.data.stimuli import make_stimulus_set, stimulus_set_sha256
from itprobe.data.storage import read_recording, save_recording

__all__ = [
    "RECORDINGS",
    "average_repetitions",
    "build_assembly",
    "check_contact_sheet_path",
    "contact_sheet",
    "describe_recording",
    "fetch_recording",
    "load_recording",
    "make_stimulus_set",
    "neuroid_coordinates",
    "package_recording",
    "presentation_coordinates",
    "read_recording",
    "recording_figures",
    "recording_sha256",
    "repetitions_per_stimulus",
    "save_recording",
    "select_region",
    "stimulus_set_sha256",
]
