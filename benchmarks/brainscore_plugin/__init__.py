from brainscore_vision import benchmark_registry

from itprobe.benchmarks import load_benchmark

# fmt: off
benchmark_registry['itprobe.simulated.IT-ridge'] = lambda: load_benchmark('itprobe.simulated.IT-ridge')
benchmark_registry['itprobe.simulated.IT-pcr'] = lambda: load_benchmark('itprobe.simulated.IT-pcr')
benchmark_registry['itprobe.simulated.IT-pls'] = lambda: load_benchmark('itprobe.simulated.IT-pls')
benchmark_registry['itprobe.simulated.IT-banded'] = lambda: load_benchmark('itprobe.simulated.IT-banded')
benchmark_registry['itprobe.simulated.IT-rsa'] = lambda: load_benchmark('itprobe.simulated.IT-rsa')
benchmark_registry['itprobe.simulated.IT-cka'] = lambda: load_benchmark('itprobe.simulated.IT-cka')
benchmark_registry['itprobe.simulated_small.IT-ridge'] = lambda: load_benchmark('itprobe.simulated_small.IT-ridge')
benchmark_registry['itprobe.simulated_small.IT-pcr'] = lambda: load_benchmark('itprobe.simulated_small.IT-pcr')
benchmark_registry['itprobe.simulated_small.IT-pls'] = lambda: load_benchmark('itprobe.simulated_small.IT-pls')
benchmark_registry['itprobe.simulated_small.IT-banded'] = lambda: load_benchmark('itprobe.simulated_small.IT-banded')
benchmark_registry['itprobe.simulated_small.IT-rsa'] = lambda: load_benchmark('itprobe.simulated_small.IT-rsa')
benchmark_registry['itprobe.simulated_small.IT-cka'] = lambda: load_benchmark('itprobe.simulated_small.IT-cka')
benchmark_registry['itprobe.MajajHong2015public.IT-ridge'] = lambda: load_benchmark('itprobe.MajajHong2015public.IT-ridge')
benchmark_registry['itprobe.MajajHong2015public.IT-pcr'] = lambda: load_benchmark('itprobe.MajajHong2015public.IT-pcr')
benchmark_registry['itprobe.MajajHong2015public.IT-pls'] = lambda: load_benchmark('itprobe.MajajHong2015public.IT-pls')
benchmark_registry['itprobe.MajajHong2015public.IT-banded'] = lambda: load_benchmark('itprobe.MajajHong2015public.IT-banded')
benchmark_registry['itprobe.MajajHong2015public.IT-rsa'] = lambda: load_benchmark('itprobe.MajajHong2015public.IT-rsa')
benchmark_registry['itprobe.MajajHong2015public.IT-cka'] = lambda: load_benchmark('itprobe.MajajHong2015public.IT-cka')
