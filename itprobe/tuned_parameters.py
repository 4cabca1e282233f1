"""Parameters that `itprobe tune` found, as its JSON files keep them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from itprobe.errors import InputError

DIGEST_LENGTH = 16
"""Of a recording's digest, as much as names it."""


class TunedFile(BaseModel):
    """What of a study's file a later run needs; what else is there is for the reader.

    Attributes
    ----------
    candidate : str
    recording : str
        Name, start of the digest and region.
    split : str
        Whose training stimuli the parameters were chosen on, e.g. ``course, seed 1``.
    parameters : dict of str to str
        As ``--set`` takes them.
    n_trials : int
    """

    model_config = ConfigDict(extra="ignore")

    candidate: str
    recording: str
    split: str
    parameters: dict[str, str]
    n_trials: int


@dataclass(frozen=True)
class TunedParameters:
    """Parameters by candidate id; none for candidates that were not tuned."""

    of_candidate: dict[str, TunedFile]

    def options(self, candidate: str) -> dict[str, str]:
        """Parameters of a candidate, as `itprobe.models.fitted.load_fitted` takes them."""
        found = self.of_candidate.get(candidate)
        return dict(found.parameters) if found else {}

    def note(self, candidate: str) -> str:
        """How a candidate's parameters came about."""
        found = self.of_candidate.get(candidate)
        if found is None:
            return "" if not self.of_candidate else "default parameters"
        return f"tuned in {found.n_trials} trials on {found.recording.rsplit(' ', 2)[0]}"

    def check(self, recording_sha256: str, splits: Sequence[str]) -> None:
        """Make sure that no parameter was chosen on stimuli that are tested.

        Parameters
        ----------
        recording_sha256 : str
        splits : sequence of str
            Each as in `TunedFile.split`.

        Raises
        ------
        InputError
            If a candidate was tuned on other splits of the same recording.
        """
        for name, found in self.of_candidate.items():
            others = [split for split in splits if split != found.split]
            if others and found.recording.rsplit(" ", 2)[1:2] == [recording_sha256[:DIGEST_LENGTH]]:
                raise InputError(
                    f"{name} was tuned on the training stimuli of {found.split} of this recording; some of them are "
                    f"test stimuli of {others[0]}: make the table on that split alone, or with parameters from "
                    "another recording"
                )


NOT_TUNED = TunedParameters({})


def read_tuned(folder: str | Path) -> TunedParameters:
    """Read all files that `itprobe tune` wrote into a folder.

    Raises
    ------
    InputError
        If there is none, or one cannot be read.
    """
    found = {}
    for path in sorted(Path(folder).glob("[!.]*.json")):
        try:
            tuned = TunedFile.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError, ValidationError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} holds no tuned parameters of itprobe tune: {reason}") from None
        found[tuned.candidate] = tuned
    if not found:
        raise InputError(f"there are no parameters in {folder}; write them with itprobe tune --out {folder}")
    return TunedParameters(found)
