from brainscore_vision import model_registry

from itprobe.models.brainscore_models import LITE0_LAYERS, PIXEL_LAYERS, brain_model

# fmt: off
model_registry['itprobe-pixels'] = lambda: brain_model("pixels", PIXEL_LAYERS, "itprobe-pixels")
model_registry['itprobe-efficientnet_lite0'] = lambda: brain_model("efficientnet_lite0", LITE0_LAYERS, "itprobe-efficientnet_lite0")
model_registry['itprobe-efficientnet_lite0-random'] = lambda: brain_model("efficientnet_lite0@random", LITE0_LAYERS, "itprobe-efficientnet_lite0-random")
