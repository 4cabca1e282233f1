"""Candidates: what turns stimuli into features, layer by layer."""

from itprobe.models.activations import Activations, record_activations
from itprobe.models.candidate import Candidate, NetworkCandidate
from itprobe.models.identifiers import CandidateId, LayerName, parse_candidate, parse_layer
from itprobe.models.preprocessing import Preprocessing
from itprobe.models.registry import CANDIDATES, Listing, list_candidates, load_candidate
from itprobe.models.stream import Precision

__all__ = [
    "CANDIDATES",
    "Activations",
    "Candidate",
    "CandidateId",
    "LayerName",
    "Listing",
    "NetworkCandidate",
    "Precision",
    "Preprocessing",
    "list_candidates",
    "load_candidate",
    "parse_candidate",
    "parse_layer",
    "record_activations",
]
