from brainscore_vision import data_registry, stimulus_set_registry

from itprobe.data import load_recording

data_registry["itprobe.simulated"] = lambda: load_recording("simulated")
data_registry["itprobe.simulated_small"] = lambda: load_recording("simulated_small")
stimulus_set_registry["itprobe.simulated"] = lambda: load_recording("simulated").attrs["stimulus_set"]
stimulus_set_registry["itprobe.simulated_small"] = lambda: load_recording("simulated_small").attrs[
    "stimulus_set"
]
