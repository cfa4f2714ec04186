"""What every test shares: one seed, the size of random runs, and the state each test starts from.

A quick run (`make test`) is a fixed, seeded subset of a long one (`make soak`). Whatever is
random follows from `--seed`, which the header prints: the same seed gives the same cases, and a
failing case bears its seed in its name.
"""

import os
import shutil
import signal
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Two test processes share the machine: a library's own threads would only fight over it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts tests in the background lets them ignore Ctrl-C, and all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
settings.register_profile(
    "quick", max_examples=30, derandomize=True, deadline=None, suppress_health_check=_HEALTH
)
settings.register_profile(
    "soak", max_examples=2000, deadline=None, suppress_health_check=_HEALTH, print_blob=True
)


def pytest_addoption(parser):
    group = parser.getgroup("graphc")
    group.addoption("--seed", type=int, default=0, help="the seed of every random case (0)")
    group.addoption("--soak", action="store_true", help="long randomised runs")


def pytest_configure(config):
    settings.load_profile("soak" if config.getoption("--soak") else "quick")


def pytest_report_header(config):
    kind = "soak" if config.getoption("--soak") else "quick"
    return f"graphc: {kind} run, --seed={config.getoption('--seed')}"


def pytest_generate_tests(metafunc):
    """Give `case_seed` as many seeds as the test's `random_cases(quick, soak)` asks for."""
    if "case_seed" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("random_cases")
    if marker is None:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid} takes case_seed and lacks "
            "@pytest.mark.random_cases(quick=..., soak=...)"
        )
    count = marker.kwargs["soak" if metafunc.config.getoption("--soak") else "quick"]
    first = metafunc.config.getoption("--seed")
    metafunc.parametrize("case_seed", range(first, first + count), ids=lambda s: f"seed={s}")


def pytest_collection_modifyitems(config, items):
    missing = {
        "soak": None if config.getoption("--soak") else "runs in `make soak`",
        "gxx": None if shutil.which("g++") else "no g++ on PATH: install a C++ compiler",
        "gpu": _missing_gpu,
    }
    for item in items:
        for name, reason in missing.items():
            if item.get_closest_marker(name) is None:
                continue
            text = reason() if callable(reason) else reason
            if text:
                item.add_marker(pytest.mark.skip(reason=text))


def _missing_gpu():
    """The reason why no GPU can be used, or None."""
    if not Path("/dev/nvidiactl").exists():
        return "no NVIDIA GPU: /dev/nvidiactl does not exist"
    try:
        import cupy  # noqa: F401
    except ImportError as error:
        return f"cupy cannot be imported: {error}"
    return None


@pytest.fixture
def rng(request):
    """A NumPy generator that follows from `--seed` and the test's name alone."""
    import numpy as np

    name = zlib.crc32(request.node.nodeid.encode())
    return np.random.default_rng([request.config.getoption("--seed"), name])


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Compiled kernels are kept for the test run alone: neither read from nor left to the user."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the processes of one run share their kernels
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHC_CACHE_DIR", str(base / "graphc-cache"))
        yield


@pytest.fixture(autouse=True)
def _empty_default_graph():
    """No test sees the nodes of another."""
    from graphc.ir.scope import reset_default_graph

    reset_default_graph()
