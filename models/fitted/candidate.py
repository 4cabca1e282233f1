"""Fitted candidates: they see training stimuli with their responses, and then predict responses to others."""

import copy
import json
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from itprobe.errors import InputError
from itprobe.files import sha256_file, sha256_values
from itprobe.models.candidate import NetworkCandidate
from itprobe.models.fitted.cache import fits_folder
from itprobe.models.fitted.checkpoints import remove_checkpoint
from itprobe.models.fitted.finished import Finished, Probe, load_finished, save_finished
from itprobe.models.fitted.inputs import PreparedRows, TensorInputs, channel_statistics
from itprobe.models.fitted.losses import noise_weights
from itprobe.models.fitted.networks import FittedNetwork, Targets, Task
from itprobe.models.fitted.predicting import outputs, predictions
from itprobe.models.fitted.settings import Part, Trained, TrainingSettings, Watch
from itprobe.models.fitted.training import placed, train
from itprobe.models.stream import image_paths, stimulus_ids

if TYPE_CHECKING:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet


@dataclass(frozen=True)
class FitReport:
    """What a fit to one split's training stimuli was.

    Attributes
    ----------
    weights_sha256 : str or None
        Digest of all that was fitted; None for a user's own candidate.
    n_parameters : int or None
        Numbers that were fitted.
    trained : Trained or None
        None for a user's own candidate.
    """

    weights_sha256: str | None
    n_parameters: int | None
    trained: Trained | None


class FittedCandidate(ABC):
    """A candidate that learns the responses themselves.

    A benchmark takes a `fresh` copy for each split, fits it to that split's training stimuli, and asks for its
    predictions of the test stimuli. No test response ever reaches it.

    Attributes
    ----------
    identifier : str
    track : {"fitted"}
    weights_sha256 : str or None
        Digest of what training starts from: the backbone; None where all starts from random numbers.
    weights_kind : {"trained", "random", "unknown"} or None
        Of the backbone.
    device : torch.device or str
    report : FitReport or None
        None before `fit`.
    """

    track: Literal["fitted"] = "fitted"
    identifier: str
    weights_sha256: str | None = None
    weights_kind: Literal["trained", "random", "unknown"] | None = None
    device: torch.device | str = "cpu"
    report: FitReport | None = None

    @abstractmethod
    def fresh(self, context: Mapping[str, str], reliability: np.ndarray | None = None) -> Self:
        """Give an unfitted copy that knows nothing of an earlier fit.

        Parameters
        ----------
        context : mapping of str to str
            Which recording, region, split and seed it is for; checkpoints and exports carry it.
        reliability : ndarray (q,), optional
            Of the training responses alone, for candidates that weigh neuroids by it.
        """

    @abstractmethod
    def parameters(self) -> dict[str, object]:
        """Parameters as they stand in a result file."""

    @abstractmethod
    def fit(self, stimuli: "StimulusSet", responses: np.ndarray, labels: np.ndarray | None = None) -> Self:
        """Learn from training stimuli.

        Parameters
        ----------
        stimuli : StimulusSet (n rows)
        responses : ndarray (n, q)
            Rows as `stimuli`.
        labels : ndarray (n,), optional
            Object of each stimulus.

        Raises
        ------
        InputError
            If the candidate cannot be fitted to them.
        """

    @abstractmethod
    def predict(self, stimuli: "StimulusSet") -> np.ndarray:
        """Predict responses (m, q) to m stimuli, in the units of those that it was fitted to."""


@dataclass(frozen=True)
class Design:
    """All that a network candidate is but for its data.

    Attributes
    ----------
    settings : dataclass
        Sizes of the network, see `itprobe.models.fitted.networks`.
    training : TrainingSettings
    seed : int
    build : callable
        Makes the network for a `Task`.
    rows : PreparedRows
        Its inputs.
    standardised : bool
        Inputs are scaled by the channels' mean and deviation over the training stimuli.
    needs_labels : bool
    backbone : str or None
        Digest of a backbone's weights, preprocessing and code.
    extra : dict
        Further parameters: the side of the images, or the backbone's layer.
    origin : NetworkCandidate or None
        The backbone that `backbone` is the digest of.
    """

    settings: Any
    training: TrainingSettings
    seed: int
    build: Callable[[Task], FittedNetwork]
    rows: PreparedRows
    standardised: bool
    needs_labels: bool
    extra: dict[str, object]
    backbone: str | None = None
    origin: NetworkCandidate | None = None

    @property
    def parameters(self) -> dict[str, object]:
        """Everything that was chosen."""
        return {**self.extra, **asdict(self.settings), **asdict(self.training), "seed": self.seed}


class NetworkFit(FittedCandidate):
    """A network trained on responses.

    Parameters
    ----------
    identifier : str
    design : Design
    device : torch.device
    weights_sha256, weights_kind
        Of the backbone, see `FittedCandidate`.
    checkpoints : Path, optional
        Folder for checkpoints and finished weights; by default one in the cache, named after all that
        the weights depend on.

    Attributes
    ----------
    watch : callable or None
        Told of every epoch of a training, see `itprobe.models.fitted.training.Watch`.
    fitted_to : list of str
        Ids of the stimuli that it was fitted to; none before `fit`.
    network : FittedNetwork or None
        None before `fit`.
    """

    def __init__(
        self,
        identifier: str,
        design: Design,
        device: torch.device,
        weights_sha256: str | None = None,
        weights_kind: Literal["trained", "random", "unknown"] | None = None,
        checkpoints: Path | None = None,
    ) -> None:
        self.identifier, self.design, self.device = identifier, design, device
        self.weights_sha256, self.weights_kind = weights_sha256, weights_kind
        self.checkpoints = checkpoints
        self.context: dict[str, str] = {}
        self.finished: Finished | None = None
        self.watch: Watch | None = None
        self._reliability: np.ndarray | None = None
        self.network: FittedNetwork | None = None
        self.fitted_to: list[str] = []

    def fresh(self, context: Mapping[str, str], reliability: np.ndarray | None = None) -> Self:  # noqa: D102
        made = copy.copy(self)
        made.context, made._reliability = dict(context), reliability
        made.finished, made.network, made.report, made.fitted_to = None, None, None, []
        return made

    def parameters(self) -> dict[str, object]:  # noqa: D102
        return self.design.parameters

    @property
    def precision(self) -> str:
        """Of the training, as a result file states it."""
        mixed = self.design.training.mixed_precision and torch.device(self.device).type == "cuda"
        return "bf16" if mixed else "full"

    def fit(self, stimuli: "StimulusSet", responses: np.ndarray, labels: np.ndarray | None = None) -> Self:
        """Train the network, or take up its training or its finished weights where they were left.

        Raises
        ------
        InputError
            If responses are not finite or not of these stimuli, objects are needed and not known, there are
            too few stimuli, or training fails; see `itprobe.models.fitted.training.train`.
        """
        design = self.design
        codes, n_objects = _coded(labels)
        self._check(stimuli, responses, labels, n_objects)
        rows = design.rows.of(stimuli)
        mean = responses.mean(axis=0)
        # The deviation of equal numbers can be their rounding; such a neuroid is predicted as what it is.
        deviation = np.where(np.ptp(responses, axis=0) > 0, responses.std(axis=0), 0.0)
        inputs = TensorInputs(rows, torch.device(self.device), design.training.shift, design.training.flip)
        task = Task(inputs.shape, responses.shape[1], n_objects)
        statistics = channel_statistics(inputs) if design.standardised else None
        described = self._described(stimuli, responses, labels)
        folder = self.checkpoints or fits_folder() / sha256_values(json.dumps(described))[:24]

        def build() -> FittedNetwork:
            network = design.build(task)
            if statistics:
                network.fit_input(*statistics)
            return network

        known = load_finished(folder, described)
        if known is None:
            scaled = (responses - mean) / np.where(deviation > 0, deviation, 1.0)
            standardised = torch.as_tensor(scaled, dtype=torch.float32)
            targets = Targets(
                standardised.to(self.device),
                None if codes is None else torch.from_numpy(codes).to(self.device),
            )
            weights = self._neuroid_weights(responses.shape[1])
            network, trained = train(
                build,
                Part(inputs, targets, labels, weights),
                design.training,
                design.seed,
                torch.device(self.device),
                self.identifier,
                folder,
                described,
                self.watch,
            )
            probe = self._probe(network, inputs, responses)
            known = Finished(network.state_dict(), task, mean, deviation * trained.scale, probe, trained)
            known = replace(known, sha256=save_finished(known, folder, described))
            remove_checkpoint(folder)
        else:
            with torch.random.fork_rng(devices=[]):  # the weights that it draws are not used
                network = placed(build(), torch.device(self.device))
            network.load_state_dict(known.network)
            network.eval()
        self.finished, self.network = known, network
        self.fitted_to = stimulus_ids(stimuli).tolist()
        trainable = sum(values.numel() for values in network.parameters() if values.requires_grad)
        self.report = FitReport(known.sha256, trainable, known.trained)
        return self

    def predict(self, stimuli: "StimulusSet") -> np.ndarray:
        """Predict responses (m, q).

        Raises
        ------
        InputError
            If the candidate is not fitted yet.
        """
        if self.finished is None or self.network is None:
            raise InputError(f"{self.identifier} is not fitted yet; call fit first")
        inputs = TensorInputs(self.design.rows.of(stimuli), torch.device(self.device))
        known = self.finished
        return predictions(self.network, inputs, known.mean, known.deviation, known.probe)

    def _check(
        self, stimuli: "StimulusSet", responses: np.ndarray, labels: np.ndarray | None, n_objects: int
    ) -> None:
        if responses.ndim != 2 or len(responses) != len(stimuli):
            raise InputError(
                f"{self.identifier}: {len(stimuli)} training stimuli, but responses of shape {responses.shape}"
            )
        if labels is not None and len(labels) != len(stimuli):
            raise InputError(f"{self.identifier}: {len(stimuli)} training stimuli, but {len(labels)} labels")
        if not np.isfinite(responses).all():
            raise InputError(
                f"{self.identifier}: training responses are NaN or infinite; leave those neuroids out"
            )
        if self.design.needs_labels and n_objects < 2:
            raise InputError(
                f"{self.identifier} learns objects beside responses, and the recording names "
                f"{n_objects or 'no'} object{'' if n_objects == 1 else 's'}; it needs a stimulus-set column object_name"
            )

    def _neuroid_weights(self, q: int) -> Tensor | None:
        if not self.design.training.noise_weighting:
            return None
        if self._reliability is None:
            raise InputError(
                f"{self.identifier}: noise_weighting needs a recording with repetitions; leave it out"
            )
        return torch.as_tensor(noise_weights(self._reliability), dtype=torch.float32).to(self.device)

    def _probe(self, network: FittedNetwork, inputs: TensorInputs, responses: np.ndarray) -> Probe | None:
        """Ridge from the bottleneck, for networks that have one."""
        with torch.no_grad():
            named = network(inputs.batch(torch.arange(2)))
        if "bottleneck" not in named:
            return None
        return Probe.fit(outputs(network, inputs, "bottleneck"), responses)

    def _described(
        self, stimuli: "StimulusSet", responses: np.ndarray, labels: np.ndarray | None
    ) -> dict[str, object]:
        """All that the weights depend on."""
        shown = sha256_values(*stimulus_ids(stimuli), *map(sha256_file, image_paths(stimuli)))
        return {
            "architecture": {
                "candidate": self.identifier,
                **self.design.extra,
                **asdict(self.design.settings),
            },
            "training": asdict(self.design.training),
            "seed": self.design.seed,
            "backbone": self.design.backbone,
            "recording": self.context.get("recording", "not named"),
            "stimuli": shown,
            "responses": sha256_values(
                np.asarray(responses, dtype=np.float64),
                "none" if labels is None else np.asarray(labels, dtype=str),
                "none" if self._reliability is None else self._reliability,
            ),
            "device": torch.device(self.device).type,
            "versions": f"torch {version('torch')}, itprobe {version('itprobe')}, {platform.machine()}",
        }


def _coded(labels: np.ndarray | None) -> tuple[np.ndarray | None, int]:
    """Objects as numbers (n,), and how many there are."""
    if labels is None:
        return None, 0
    names, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    return codes.astype(np.int64), len(names)
