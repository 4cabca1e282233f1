from brainscore_vision import benchmark_registry

from itprobe.benchmarks import load_benchmark

benchmark_registry["itprobe.simulated.IT-ridge"] = lambda: load_benchmark("itprobe.simulated.IT-ridge")
benchmark_registry["itprobe.simulated_small.IT-ridge"] = lambda: load_benchmark(
    "itprobe.simulated_small.IT-ridge"
)
benchmark_registry["itprobe.MajajHong2015public.IT-ridge"] = lambda: load_benchmark(
    "itprobe.MajajHong2015public.IT-ridge"
)
